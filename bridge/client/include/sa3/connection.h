// Where a daemon is found and how one is started. Knows no socket and no message.
//
// The rules are those of docs/protocol.md, "Finding and reaching a daemon". [thread-safe, not audio-thread]
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace sa3 {

/// The one command to show when a daemon cannot be started from here.
constexpr const char* kStartCommand = "sa3-daw serve";

/// The content of connection.json.
struct Connection {
    std::int64_t protocol_version = 0;
    std::string daemon_version;
    std::int64_t pid = 0;
    std::string ipc;
    std::string tcp;
    std::string server_key;
    std::string client_public_key;
    std::string client_secret_key;
};

bool operator==(const Connection& a, const Connection& b);

/// A connection, or in one sentence why there is none.
struct ConnectionResult {
    std::optional<Connection> connection;
    std::string problem;
};

/// The user's runtime directory on this system.
std::filesystem::path default_runtime_dir();
/// Read connection.json: refuses one that others may read, that cannot be parsed, or whose process has ended.
ConnectionResult read_connection(const std::filesystem::path& runtime_dir);
/// Whether a process of that number exists. Always true on Windows.
bool process_may_be_alive(std::int64_t pid);

/// The command line that starts a daemon: `sa3-daw serve` from PATH or the usual places of user installs; empty when it
/// is installed nowhere.
std::vector<std::string> find_serve_command();
/// Start a daemon that outlives this process and inherits nothing from it; its output goes to daemon.log in
/// `runtime_dir`. Returns "" or in one sentence why not. Never forks inside the host (posix_spawn / CreateProcess).
std::string start_daemon(const std::vector<std::string>& command, const std::filesystem::path& runtime_dir);

}  // namespace sa3
