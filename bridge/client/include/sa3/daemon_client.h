// The connection to the daemon: finds it, starts it, comes back to it, runs jobs. Knows no host, no window and no file.
//
// One worker thread owns the ZeroMQ context and the socket: both are made, used and closed in it. Every public function
// only puts a command into a queue or reads what the worker has published, so none of them waits for the daemon.
// A job's audio goes straight from the worker into its TakeAudio: it plays whether or not anybody drains the events.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "sa3/messages.h"
#include "sa3/take_audio.h"

namespace sa3 {

enum class DaemonState : int {
    kSearching,        // not looked yet, or a connection is being made
    kNoDaemon,         // none runs; `reason` tells why, kStartCommand what to do
    kStarting,         // start_daemon() was asked, it does not answer yet
    kReady,            // connected, nothing of ours runs
    kLoading,          // one of our jobs waits for its model to load
    kGenerating,       // one of our jobs runs or waits
    kVersionMismatch,  // a daemon of another protocol version runs; `reason` names both
    kFailed,           // starting a daemon failed; `reason` tells why
};

/// The connection as of now. `hello` is null until a daemon has answered; it stays when that daemon is lost.
struct DaemonStatus {
    DaemonState state = DaemonState::kSearching;
    std::string reason;  // one sentence for a person, empty when all is well
    std::shared_ptr<const HelloReply> hello;
    bool is_connected() const {
        return state == DaemonState::kReady || state == DaemonState::kLoading || state == DaemonState::kGenerating;
    }
};

enum class JobState : int {
    kWaiting,   // not sent yet: no daemon, or its source is being uploaded
    kQueued,    // accepted
    kRunning,   // progress or audio has come
    kFinished,  // all takes are complete
    kFailed,    // error() tells why; what has streamed stays playable
    kCancelled,
};
constexpr bool has_ended(JobState state) { return state >= JobState::kFinished; }

/// One variation of a running job: audio that fills in, then what is known of it.
struct Variation {
    std::shared_ptr<TakeAudio> audio;  // the final audio; never null
    std::shared_ptr<TakeAudio> draft;  // the rough version, null until one comes
    std::optional<Take> take;          // once complete
};

/// A job from submit() to its end. Shared by the worker, which writes, and everybody else, who reads. [thread-safe]
class RunningJob {
public:
    RunningJob(Job job, std::shared_ptr<const TakeAudio> source);

    const std::string& id() const { return job_.job_id; }
    /// As submitted; with a source given as audio its address is written in once known.
    Job job() const;
    JobState state() const { return state_.load(std::memory_order_acquire); }
    bool ended() const { return has_ended(state()); }
    Variation variation(std::size_t index) const;  // index < num_variations()
    std::size_t num_variations() const { return num_variations_; }
    std::optional<Accepted> accepted() const;
    Progress progress() const;                  // stage is "" before the first; "uploading" while the source travels
    std::optional<double> eta_seconds() const;  // expected time until the end, counted down from the last report
    std::optional<Failed> error() const;
    std::optional<Finished> finished() const;
    /// Let a durable job go on when its client ends; else it is cancelled then.
    void keep() { is_kept_.store(true, std::memory_order_release); }
    bool is_kept() const { return is_kept_.load(std::memory_order_acquire); }

private:
    friend class DaemonWorker;
    using Clock = std::chrono::steady_clock;

    mutable std::mutex mutex_;
    Job job_;
    std::size_t num_variations_;
    std::shared_ptr<const TakeAudio> source_;
    std::atomic<JobState> state_{JobState::kWaiting};
    std::atomic<bool> is_kept_{false};
    std::vector<Variation> variations_;
    std::optional<Accepted> accepted_;
    Progress progress_;
    std::optional<double> eta_seconds_;
    Clock::time_point eta_told_at_;
    std::optional<Failed> error_;
    std::optional<Finished> finished_;
};
using RunningJobPtr = std::shared_ptr<RunningJob>;

using RequestId = std::uint64_t;

// What drain() gives, in order.

/// The connection's status has changed.
struct StatusChanged {
    DaemonStatus status;
};
/// Something about a job is new: its state, progress, audio or takes. Several changes may come as one event.
struct JobChanged {
    RunningJobPtr job;
};
/// The answer to ask(): the reply, or a Rejected (code daemon_unreachable when the daemon is not there or was lost).
struct Answered {
    RequestId request = 0;
    Message reply;
};
/// The answer to put_audio(): the content address, or why not.
struct AudioStored {
    RequestId request = 0;
    std::string audio;
    std::string problem;
};
/// The answer to get_audio(): comes once the length is known (`audio` fills in from then on) and again at the end, or
/// once with a problem. A `problem` at the end also tells audio that is not what its address says.
struct AudioFetched {
    RequestId request = 0;
    std::shared_ptr<TakeAudio> audio;
    bool is_complete = false;
    std::string problem;
};
using Event = std::variant<StatusChanged, JobChanged, Answered, AudioStored, AudioFetched>;

/// How to find and start the daemon.
struct ClientOptions {
    std::string client_name = "sa3 client";  // for the daemon's log
    std::filesystem::path runtime_dir;       // empty: default_runtime_dir()
    std::vector<std::string> serve_command;  // empty: find_serve_command()
    bool start_daemon_when_missing = false;  // true: as if start_daemon() were called once, when none is found
};

class DaemonClient {
public:
    /// Starts the worker, which connects by itself now and whenever a daemon appears. [main-thread]
    explicit DaemonClient(ClientOptions options = {});
    /// Ends the worker: at most a few tens of milliseconds, whatever the daemon does. Live jobs end as kCancelled here;
    /// at the daemon those go on that are durable and were kept. [main-thread]
    ~DaemonClient();
    DaemonClient(const DaemonClient&) = delete;
    DaemonClient& operator=(const DaemonClient&) = delete;

    /// [thread-safe]
    DaemonStatus status() const;

    /// Start a daemon unless one runs. The status tells what came of it. [thread-safe]
    void start_daemon();

    /// Run a job. With `source` (stereo, at the job's rate) the audio is uploaded first, unless the daemon has it, and
    /// job.source->audio is written in. An empty job_id is replaced by a new one. While no daemon is connected the job
    /// fails at once with daemon_unreachable, unless one is being started. [thread-safe]
    RunningJobPtr submit(Job job, std::shared_ptr<const TakeAudio> source = nullptr);

    /// Stop a job wherever it is; harmless when it has ended. [thread-safe]
    void cancel(const RunningJobPtr& job);

    /// Send any request that one reply answers: ListTakes, GetTake, ChangeTake, DeleteTake, CollectGarbage, LoadModel,
    /// UnloadModel, Status, HasAudio, Shutdown, Hello. The reply comes as Answered. [thread-safe]
    RequestId ask(Message request);

    /// Store audio at the daemon, in chunks. The address comes as AudioStored. [thread-safe]
    RequestId put_audio(std::shared_ptr<const TakeAudio> audio);

    /// Fetch stored audio; `sample_rate` is only noted in the result. Comes as AudioFetched. [thread-safe]
    RequestId get_audio(std::string audio, double sample_rate);

    /// Give every waiting event to `handle`, on this thread. [one thread, usually the message-thread]
    void drain(const std::function<void(const Event&)>& handle);

    /// Called on the worker thread whenever events wait and none did: to wake the message thread. Set it before use or
    /// never; it must not wait. [main-thread, before the first submit]
    void set_wake_up(std::function<void()> wake_up);

private:
    std::unique_ptr<class DaemonWorker> worker_;
};

}  // namespace sa3
