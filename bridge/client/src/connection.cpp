// The runtime directory, the connection file and the start of a daemon on every system. Knows no socket and no message.
#include "sa3/connection.h"

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#ifdef _WIN32
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
extern char** environ;
#endif

namespace sa3 {
namespace fs = std::filesystem;
namespace {

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

ConnectionResult problem(std::string text) { return {std::nullopt, std::move(text)}; }

#ifdef _WIN32
constexpr char kPathSeparator = ';';
constexpr const char* kProgram = "sa3-daw.exe";

bool is_private(const fs::path&) { return true; }  // the profile's directories are
bool is_program(const fs::path& path) { return fs::is_regular_file(path); }
#else
constexpr char kPathSeparator = ':';
constexpr const char* kProgram = "sa3-daw";

bool is_private(const fs::path& path) {
    struct stat found {};
    return stat(path.c_str(), &found) == 0 && found.st_uid == geteuid() && (found.st_mode & 077) == 0;
}
bool is_program(const fs::path& path) {
    std::error_code error;
    return fs::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
}
#endif

/// Where user installs (pip, pipx, uv, Homebrew) put programs: hosts started from a desktop often have a bare PATH.
std::vector<fs::path> program_dirs() {
    std::vector<fs::path> dirs;
    std::stringstream path(variable("PATH"));
    for (std::string dir; std::getline(path, dir, kPathSeparator);)
        if (!dir.empty()) dirs.emplace_back(dir);
#ifdef _WIN32
    for (const char* base : {"USERPROFILE"})
        if (const auto home = variable(base); !home.empty()) dirs.push_back(fs::path(home) / ".local" / "bin");
#else
    if (const auto home = variable("HOME"); !home.empty()) dirs.push_back(fs::path(home) / ".local" / "bin");
    dirs.insert(dirs.end(), {"/opt/homebrew/bin", "/usr/local/bin"});
#endif
    return dirs;
}

}  // namespace

bool operator==(const Connection& a, const Connection& b) {
    return a.pid == b.pid && a.tcp == b.tcp && a.server_key == b.server_key &&
           a.client_public_key == b.client_public_key && a.client_secret_key == b.client_secret_key &&
           a.protocol_version == b.protocol_version;
}

fs::path default_runtime_dir() {
    if (const auto dir = variable("SA3_RUNTIME_DIR"); !dir.empty()) return dir;
#if defined(_WIN32)
    return fs::path(variable("LOCALAPPDATA")) / "sa3-daw" / "run";
#elif defined(__APPLE__)
    return fs::path(variable("HOME")) / "Library" / "Application Support" / "sa3-daw" / "run";
#else
    if (const auto dir = variable("XDG_RUNTIME_DIR"); !dir.empty()) return fs::path(dir) / "sa3-daw";
    std::error_code error;
    const auto temporary = fs::temp_directory_path(error);
    return (error ? fs::path("/tmp") : temporary) / ("sa3-daw-" + std::to_string(getuid()));
#endif
}

ConnectionResult read_connection(const fs::path& runtime_dir) {
    const auto path = runtime_dir / "connection.json";
    std::ifstream file(path, std::ios::binary);
    if (!file) return problem("No daemon runs.");
    if (!is_private(path)) return problem(path.string() + " belongs to another user or others may read it.");
    Connection connection;
    try {
        const auto content = nlohmann::json::parse(file);
        content.at("protocol_version").get_to(connection.protocol_version);
        content.at("daemon_version").get_to(connection.daemon_version);
        content.at("pid").get_to(connection.pid);
        content.at("ipc").get_to(connection.ipc);
        content.at("tcp").get_to(connection.tcp);
        content.at("server_key").get_to(connection.server_key);
        content.at("client_public_key").get_to(connection.client_public_key);
        content.at("client_secret_key").get_to(connection.client_secret_key);
    } catch (const nlohmann::json::exception& error) {
        return problem(path.string() + " cannot be read: " + error.what());
    }
    if (!process_may_be_alive(connection.pid))
        return problem("The daemon (process " + std::to_string(connection.pid) + ") has ended.");
    return {std::move(connection), ""};
}

bool process_may_be_alive(std::int64_t pid) {
#ifdef _WIN32
    return pid > 0;
#else
    if (pid <= 0 || pid > INT32_MAX) return false;
    return kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM;
#endif
}

std::vector<std::string> find_serve_command() {
    for (const auto& dir : program_dirs())
        if (const auto program = dir / kProgram; is_program(program)) return {program.string(), "serve"};
    return {};
}

#ifdef _WIN32

std::string start_daemon(const std::vector<std::string>& command, const fs::path& runtime_dir) {
    std::error_code error;
    fs::create_directories(runtime_dir, error);
    if (error) return "Cannot make " + runtime_dir.string() + ": " + error.message();
    std::wstring line;
    for (const auto& word : command) line += L'"' + fs::u8path(word).wstring() + L"\" ";
    SECURITY_ATTRIBUTES inheritable{sizeof(SECURITY_ATTRIBUTES), nullptr, TRUE};
    HANDLE log = CreateFileW((runtime_dir / "daemon.log").c_str(), FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE,
                             &inheritable, OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL, nullptr);
    STARTUPINFOW startup{};
    startup.cb = sizeof startup;
    startup.dwFlags = STARTF_USESTDHANDLES;
    startup.hStdOutput = startup.hStdError = log;
    PROCESS_INFORMATION process{};
    const BOOL started =
        CreateProcessW(nullptr, line.data(), nullptr, nullptr, TRUE, CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP,
                       nullptr, nullptr, &startup, &process);
    if (log != INVALID_HANDLE_VALUE) CloseHandle(log);
    if (!started) return "Cannot start " + command.front() + ".";
    CloseHandle(process.hThread);
    CloseHandle(process.hProcess);
    return "";
}

#else

std::string start_daemon(const std::vector<std::string>& command, const fs::path& runtime_dir) {
    std::error_code error;
    fs::create_directories(runtime_dir, error);
    if (error) return "Cannot make " + runtime_dir.string() + ": " + error.message();
    chmod(runtime_dir.c_str(), 0700);

    // A shell in between ends at once: the daemon gets a new parent and never becomes a zombie of the host.
    const auto log = (runtime_dir / "daemon.log").string();
    std::vector<std::string> words = {"/bin/sh", "-c", "\"$@\" </dev/null >>\"$0\" 2>&1 &", log};
    words.insert(words.end(), command.begin(), command.end());
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);

    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
#ifdef POSIX_SPAWN_SETSID
    flags |= POSIX_SPAWN_SETSID;
#endif
#ifdef POSIX_SPAWN_CLOEXEC_DEFAULT
    flags |= POSIX_SPAWN_CLOEXEC_DEFAULT;  // the host's files and devices stay its own
#elif defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 34)
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
#endif
#endif
    posix_spawnattr_setflags(&attributes, flags);
    pid_t shell = 0;
    const int failure = posix_spawn(&shell, "/bin/sh", &actions, &attributes, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (failure) return std::string("Cannot start a daemon: ") + std::strerror(failure);
    int status = 0;
    while (waitpid(shell, &status, 0) < 0 && errno == EINTR) {
    }
    return "";
}

#endif

}  // namespace sa3
