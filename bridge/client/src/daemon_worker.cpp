// Finds the daemon, speaks with it, comes back to it. Knows no host and no window; jobs are in live_jobs.cpp.
#include "daemon_worker.h"

#include <algorithm>
#include <utility>

namespace sa3 {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kPoll{20};
constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{1000};
constexpr milliseconds kParting{100};  // a daemon that lives takes far less, one that hangs does not get more
constexpr seconds kSilence{10};
constexpr seconds kHelloPatience{5};
constexpr seconds kStartPatience{30};

const std::string kInstallHint =
    std::string("sa3-daw was not found on this computer. Once it is installed, run: ") + kStartCommand;

}  // namespace

DaemonWorker::DaemonWorker(ClientOptions options) : options_(std::move(options)) {
    if (options_.runtime_dir.empty()) options_.runtime_dir = default_runtime_dir();
    thread_ = std::thread([this] { run(); });
}

DaemonWorker::~DaemonWorker() {
    {
        const std::lock_guard lock(mutex_);
        quit_ = true;
        wake_up_ = nullptr;
    }
    wake_.notify_one();
    thread_.join();
}

// --- queues ----------------------------------------------------------------------------------------------------

void DaemonWorker::post(std::function<void()> command) {
    {
        const std::lock_guard lock(mutex_);
        commands_.push_back(std::move(command));
    }
    wake_.notify_one();
}

bool DaemonWorker::is_quitting() const {
    const std::lock_guard lock(mutex_);
    return quit_;
}

DaemonStatus DaemonWorker::status() const {
    const std::lock_guard lock(mutex_);
    return status_;
}

void DaemonWorker::set_wake_up(std::function<void()> wake_up) {
    const std::lock_guard lock(mutex_);
    wake_up_ = std::move(wake_up);
}

void DaemonWorker::drain(const std::function<void(const Event&)>& handle) {
    std::deque<Event> events;
    {
        const std::lock_guard lock(mutex_);
        events.swap(events_);
    }
    for (const auto& event : events) handle(event);
}

void DaemonWorker::emit(Event event) {
    std::function<void()> wake_up;
    {
        const std::lock_guard lock(mutex_);
        if (events_.empty()) wake_up = wake_up_;
        events_.push_back(std::move(event));
    }
    if (wake_up) wake_up();
}

void DaemonWorker::job_changed(const RunningJobPtr& job) {
    {
        const std::lock_guard lock(mutex_);
        const auto waits = [&job](const Event& event) {
            const auto* changed = std::get_if<JobChanged>(&event);
            return changed && changed->job == job;
        };
        if (std::any_of(events_.begin(), events_.end(), waits)) return;
    }
    emit(JobChanged{job});
}

void DaemonWorker::set_state(DaemonState state, std::string reason) {
    DaemonStatus now;
    {
        const std::lock_guard lock(mutex_);
        if (status_.state == state && status_.reason == reason) return;
        status_.state = state;
        status_.reason = std::move(reason);
        now = status_;
    }
    emit(StatusChanged{now});
}

void DaemonWorker::show_activity() {
    if (!is_greeted_) return;
    bool is_loading = false;
    for (const auto& [id, live] : jobs_) {
        const std::lock_guard lock(live.job->mutex_);
        is_loading = is_loading || live.job->progress_.stage == "loading";
    }
    set_state(is_loading ? DaemonState::kLoading : !jobs_.empty() ? DaemonState::kGenerating : DaemonState::kReady);
}

Rejected DaemonWorker::no_daemon() const {
    return {"daemon_unreachable", std::string("No daemon is connected. Start one with: ") + kStartCommand, "", "",
            kStartCommand};
}

// --- life ------------------------------------------------------------------------------------------------------

void DaemonWorker::run() {
    zmq::context_t context(1);
    for (;;) {
        {
            std::unique_lock lock(mutex_);
            if (!link_) wake_.wait_for(lock, kPoll, [this] { return quit_ || !commands_.empty(); });
            if (quit_) break;
        }
        try {
            run_commands();
            if (link_)
                serve_link();
            else if (Clock::now() >= next_try_)
                find_daemon(context);
        } catch (const VersionMismatch& mismatch) {
            lose_link(mismatch.what());
            set_state(DaemonState::kVersionMismatch, mismatch.what());
            next_try_ = Clock::now() + kLongestPause;
        } catch (const std::exception& error) {
            lose_link(std::string("The connection to the daemon failed: ") + error.what());
        }
    }
    part();
    for (auto& [id, live] : std::exchange(jobs_, {})) end_job(live.job, JobState::kCancelled);
    for (auto& job : std::exchange(waiting_jobs_, {})) end_job(job, JobState::kCancelled);
}

/// Close the link, and on it take back what nobody keeps.
void DaemonWorker::part() {
    if (!link_) return;
    try {
        for (const auto& [id, live] : jobs_)
            if (live.generate_seq != 0 && !live.job->is_kept()) send(Cancel{}, id);
        link_->send_what_waits(kParting);
    } catch (const std::exception&) {
        // The daemon is gone: nothing runs there.
    }
    link_.reset();
}

void DaemonWorker::run_commands() {
    for (;;) {
        std::function<void()> command;
        {
            const std::lock_guard lock(mutex_);
            if (commands_.empty()) return;
            command = std::move(commands_.front());
            commands_.pop_front();
        }
        command();
    }
}

std::chrono::milliseconds DaemonWorker::next_pause() {
    back_off_ = std::clamp(back_off_ * 2, kFirstPause, kLongestPause);
    return is_starting_ ? kFirstPause : back_off_;
}

void DaemonWorker::find_daemon(zmq::context_t& context) {
    next_try_ = Clock::now() + next_pause();
    const auto found = read_connection(options_.runtime_dir);
    has_searched_ = true;
    if (found.connection) {
        if (found.connection->protocol_version != kProtocolVersion) {
            set_state(DaemonState::kVersionMismatch,
                      "The daemon speaks protocol version " + std::to_string(found.connection->protocol_version) +
                          ", this program version " + std::to_string(kProtocolVersion) + ".");
            return;
        }
        greet(context, *found.connection);
        return;
    }
    if (options_.start_daemon_when_missing && !start_was_tried_) {
        start_daemon();
    } else if (is_starting_ && Clock::now() > start_deadline_) {
        is_starting_ = false;
        set_state(DaemonState::kFailed,
                  "The daemon did not start; the reason is in " + (options_.runtime_dir / "daemon.log").string() + ".");
    } else if (!is_starting_ && status().state != DaemonState::kFailed) {
        set_state(DaemonState::kNoDaemon, found.problem);
    }
    if (is_starting_) return;
    for (auto& job : std::exchange(waiting_jobs_, {})) fail_job(job, "daemon_unreachable", no_daemon().message);
}

void DaemonWorker::start_daemon() {
    if (is_greeted_ || is_starting_) return;
    start_was_tried_ = true;
    const auto command = options_.serve_command.empty() ? find_serve_command() : options_.serve_command;
    const auto problem = command.empty() ? kInstallHint : sa3::start_daemon(command, options_.runtime_dir);
    if (!problem.empty()) {
        set_state(command.empty() ? DaemonState::kNoDaemon : DaemonState::kFailed, problem);
        return;
    }
    is_starting_ = true;
    start_deadline_ = Clock::now() + kStartPatience;
    next_try_ = Clock::now();
    set_state(DaemonState::kStarting);
}

void DaemonWorker::greet(zmq::context_t& context, const Connection& connection) {
    if (!(connection == connection_)) back_off_ = milliseconds{0};
    connection_ = connection;
    link_ = std::make_unique<Link>(context, connection);
    is_greeted_ = false;
    heard_at_ = Clock::now();
    request(Hello{options_.client_name}, [this](const Message& reply, const auto&) {
        const auto* hello = std::get_if<HelloReply>(&reply);
        if (!hello) return;
        {
            const std::lock_guard lock(mutex_);
            status_.hello = std::make_shared<HelloReply>(*hello);
        }
        is_greeted_ = true;
        is_starting_ = false;
        back_off_ = milliseconds{0};
        for (auto& job : std::exchange(waiting_jobs_, {})) submit(job);
        show_activity();
    });
}

void DaemonWorker::serve_link() {
    link_->wait(kPoll);
    while (auto arrived = link_->receive()) {
        heard_at_ = Clock::now();
        handle(*arrived);
        if (!link_) return;
    }
    const auto silence = Clock::now() - heard_at_;
    if (link_->is_gone())
        lose_link("The daemon (process " + std::to_string(connection_.pid) + ") has ended or was lost.");
    else if (!is_greeted_ && silence > kHelloPatience)
        lose_link("The daemon does not answer.");
    else if ((!jobs_.empty() || !replies_.empty()) && silence > kSilence)
        lose_link("The daemon has been silent for 10 s.");
}

void DaemonWorker::lose_link(const std::string& reason) {
    link_.reset();
    is_greeted_ = false;
    next_try_ = Clock::now() + next_pause();
    if (!is_starting_) set_state(DaemonState::kNoDaemon, reason);
    for (auto& [seq, on_reply] : std::exchange(replies_, {})) {
        auto refusal = no_daemon();
        refusal.message = reason;
        on_reply(refusal, {});
    }
    for (auto& [id, live] : std::exchange(jobs_, {})) fail_job(live.job, "daemon_unreachable", reason);
}

// --- speaking --------------------------------------------------------------------------------------------------

std::int64_t DaemonWorker::send(const Message& message, const std::string& job_id, std::int64_t credit,
                                const void* buffer, std::size_t num_bytes) {
    Header header;
    header.job = job_id;
    header.seq = ++seq_;
    header.credit = credit;
    if (!link_->send(encode(message, header), buffer, num_bytes)) throw std::runtime_error("it takes no more messages");
    return header.seq;
}

void DaemonWorker::request(const Message& message, OnReply on_reply, const void* buffer, std::size_t num_bytes) {
    if (replies_.empty() && jobs_.empty()) heard_at_ = Clock::now();
    replies_.emplace(send(message, "", 0, buffer, num_bytes), std::move(on_reply));
}

void DaemonWorker::handle(const Arrived& arrived) {
    if (handle_reply(arrived)) return;
    const auto live = jobs_.find(arrived.received.header.job);
    if (live != jobs_.end()) handle_job(live->second, arrived);
}

bool DaemonWorker::handle_reply(const Arrived& arrived) {
    const auto index = arrived.received.message.index();
    const auto is_event = index >= Message(Accepted{}).index() && index <= Message(Cancelled{}).index();
    if (is_event) return false;
    const auto waiting = replies_.find(arrived.received.header.seq);
    if (waiting == replies_.end()) return false;
    const auto on_reply = std::move(waiting->second);
    replies_.erase(waiting);
    on_reply(arrived.received.message, arrived.buffers);
    return true;
}

void DaemonWorker::ask(RequestId id, const Message& message) {
    if (!is_greeted_) {
        emit(Answered{id, no_daemon()});
        return;
    }
    request(message, [this, id](const Message& reply, const auto&) { emit(Answered{id, reply}); });
}

}  // namespace sa3
