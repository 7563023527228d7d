// Finds the daemon, speaks with it, comes back to it. Knows no host and no window.
#include "daemon_worker.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sa3 {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kPoll{20};
constexpr milliseconds kFirstPause{100};
constexpr milliseconds kLongestPause{1000};
constexpr seconds kSilence{10};
constexpr seconds kHelloPatience{5};
constexpr seconds kStartPatience{30};
constexpr std::int64_t kNumCredits = 16;
constexpr std::int64_t kReturnCredits = 4;

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
    link_.reset();
    for (auto& [id, live] : std::exchange(jobs_, {})) end_job(live.job, JobState::kCancelled);
    for (auto& job : std::exchange(waiting_jobs_, {})) end_job(job, JobState::kCancelled);
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

// --- jobs ------------------------------------------------------------------------------------------------------

void DaemonWorker::submit(const RunningJobPtr& job) {
    if (job->ended()) return;
    if (!is_greeted_) {
        if (is_starting_ || link_ || !has_searched_)
            waiting_jobs_.push_back(job);
        else
            fail_job(job, "daemon_unreachable", no_daemon().message);
        return;
    }
    if (jobs_.count(job->id())) {
        fail_job(job, "invalid_field", "A job of this id runs already.");
        return;
    }
    if (jobs_.empty() && replies_.empty()) heard_at_ = Clock::now();
    auto& live = jobs_[job->id()];
    live.job = job;
    if (!job->source_) {
        send_job(live);
        return;
    }
    {
        const std::lock_guard lock(job->mutex_);
        job->progress_ = {"uploading", 0, 1, std::nullopt};
    }
    job_changed(job);
    show_activity();
    upload(job->source_, [this, job](const std::string& audio, const std::string& problem) {
        const auto found = jobs_.find(job->id());
        if (found == jobs_.end() || found->second.job != job) return;
        if (!problem.empty()) {
            jobs_.erase(found);
            fail_job(job, "invalid_request", "The source could not be stored: " + problem);
            return;
        }
        if (found->second.cancel_asked) {
            jobs_.erase(found);
            end_job(job, JobState::kCancelled);
            return;
        }
        {
            const std::lock_guard lock(job->mutex_);
            if (!job->job_.source) job->job_.source.emplace();
            job->job_.source->audio = audio;
        }
        send_job(found->second);
    });
}

void DaemonWorker::send_job(LiveJob& live) {
    live.generate_seq = send(live.job->job(), live.job->id(), kNumCredits);
    show_activity();
}

void DaemonWorker::cancel(const RunningJobPtr& job) {
    waiting_jobs_.erase(std::remove(waiting_jobs_.begin(), waiting_jobs_.end(), job), waiting_jobs_.end());
    const auto found = jobs_.find(job->id());
    if (found == jobs_.end() || found->second.job != job) {
        if (!job->ended()) end_job(job, JobState::kCancelled);
        return;
    }
    found->second.cancel_asked = true;
    if (found->second.generate_seq != 0) send(Cancel{}, job->id());
}

void DaemonWorker::handle_job(LiveJob& live, const Arrived& arrived) {
    const auto job = live.job;
    const auto& message = arrived.received.message;
    if (const auto* audio = std::get_if<Audio>(&message)) {
        take_audio(live, *audio, arrived.buffers);
        return;
    }
    if (const auto* rejected = std::get_if<Rejected>(&message)) {
        if (arrived.received.header.seq != live.generate_seq) return;
        end_job(job, JobState::kFailed,
                Failed{rejected->code, rejected->message, rejected->field, rejected->value, rejected->allowed});
        return;
    }
    if (const auto* failed = std::get_if<Failed>(&message)) {
        end_job(job, JobState::kFailed, *failed);
        return;
    }
    if (std::holds_alternative<Cancelled>(message)) {
        end_job(job, JobState::kCancelled);
        return;
    }
    if (const auto* finished = std::get_if<Finished>(&message)) {
        for (std::size_t i = 0; i < job->num_variations(); ++i)
            if (!job->variation(i).audio->is_complete()) {
                fail_job(job, "engine_error", "The job ended before all of its audio had come.");
                return;
            }
        {
            const std::lock_guard lock(job->mutex_);
            job->finished_ = *finished;
        }
        end_job(job, JobState::kFinished);
        return;
    }
    {
        const std::lock_guard lock(job->mutex_);
        const auto note_eta = [&job](const std::optional<double>& eta) {
            job->eta_seconds_ = eta;
            job->eta_told_at_ = Clock::now();
        };
        if (const auto* accepted = std::get_if<Accepted>(&message)) {
            job->accepted_ = *accepted;
            job->progress_ = {};
            job->state_ = JobState::kQueued;
            note_eta(accepted->eta_seconds);
        } else if (const auto* progress = std::get_if<Progress>(&message)) {
            job->progress_ = *progress;
            job->state_ = JobState::kRunning;
            note_eta(progress->eta_seconds);
        } else if (const auto* take = std::get_if<Take>(&message)) {
            const auto index = take->made.variation;
            if (index < 0 || index >= static_cast<std::int64_t>(job->num_variations_)) return;
            job->variations_[static_cast<std::size_t>(index)].take = *take;
        }
    }
    job_changed(job);
    show_activity();
}

void DaemonWorker::take_audio(LiveJob& live, const Audio& audio, const std::vector<zmq::message_t>& buffers) {
    const auto job = live.job;
    const bool fits = (audio.num_channels == 1 || audio.num_channels == 2) && audio.num_samples >= 0 &&
                      audio.num_samples <= TakeAudio::kMaxSamples && audio.variation >= 0 &&
                      audio.variation < static_cast<std::int64_t>(job->num_variations()) && buffers.size() == 1 &&
                      static_cast<std::int64_t>(buffers[0].size()) == 4 * audio.num_channels * audio.num_samples;
    std::shared_ptr<TakeAudio> into;
    if (fits) {
        const std::lock_guard lock(job->mutex_);
        auto& variation = job->variations_[static_cast<std::size_t>(audio.variation)];
        if (audio.draft && !variation.draft)
            variation.draft =
                std::make_shared<TakeAudio>(variation.audio->num_samples(), variation.audio->sample_rate());
        into = audio.draft ? variation.draft : variation.audio;
        job->state_ = JobState::kRunning;
    }
    if (!fits || audio.start_sample != into->num_available() ||
        audio.start_sample + audio.num_samples > into->num_samples()) {
        send(Cancel{}, job->id());
        fail_job(job, "engine_error", "Audio came that does not fit where it belongs.");
        return;
    }
    std::vector<float> samples(buffers[0].size() / 4);  // the frame itself is aligned to nothing
    std::memcpy(samples.data(), buffers[0].data(), buffers[0].size());
    into->append(samples.data(), static_cast<int>(audio.num_channels), audio.num_samples);
    if (++live.num_owed_credits >= kReturnCredits) {
        send(Credit{live.num_owed_credits}, job->id());
        live.num_owed_credits = 0;
    }
    job_changed(job);
}

void DaemonWorker::end_job(const RunningJobPtr& job, JobState state, const std::optional<Failed>& error) {
    {
        const std::lock_guard lock(job->mutex_);
        job->error_ = error;
        job->eta_seconds_.reset();
        for (auto& variation : job->variations_) {
            variation.audio->end();
            if (variation.draft) variation.draft->end();
        }
        job->state_.store(state, std::memory_order_release);
    }
    const auto found = jobs_.find(job->id());
    if (found != jobs_.end() && found->second.job == job) jobs_.erase(found);
    job_changed(job);
    show_activity();
}

void DaemonWorker::fail_job(const RunningJobPtr& job, const std::string& code, const std::string& message) {
    end_job(job, JobState::kFailed, Failed{code, message, "", "", ""});
}

}  // namespace sa3
