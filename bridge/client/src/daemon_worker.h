// The worker thread behind DaemonClient: its queues, its link, its jobs and requests. Knows no host and no window.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "link.h"
#include "sa3/daemon_client.h"

namespace sa3 {

class DaemonWorker {
public:
    using Clock = std::chrono::steady_clock;
    /// Takes the one reply of a request, or a Rejected when there will be none.
    using OnReply = std::function<void(const Message&, const std::vector<zmq::message_t>&)>;

    explicit DaemonWorker(ClientOptions options);
    ~DaemonWorker();

    // [thread-safe]
    void post(std::function<void()> command);
    DaemonStatus status() const;
    RequestId new_request() { return next_request_.fetch_add(1); }
    void drain(const std::function<void(const Event&)>& handle);
    void set_wake_up(std::function<void()> wake_up);

    // Commands: on the worker thread only.
    void start_daemon();
    void submit(const RunningJobPtr& job);
    void cancel(const RunningJobPtr& job);
    void ask(RequestId request, const Message& message);
    void put_audio(RequestId request, std::shared_ptr<const TakeAudio> audio);
    void get_audio(RequestId request, std::string audio, double sample_rate);

private:
    struct LiveJob {
        RunningJobPtr job;
        std::int64_t generate_seq = 0;
        std::int64_t num_owed_credits = 0;
        bool cancel_asked = false;
    };
    struct Upload;
    struct Download;

    void run();
    void part();
    bool is_quitting() const;
    void run_commands();
    void find_daemon(zmq::context_t& context);
    void greet(zmq::context_t& context, const Connection& connection);
    void serve_link();
    void lose_link(const std::string& reason);
    std::chrono::milliseconds next_pause();

    std::int64_t send(const Message& message, const std::string& job_id = "", std::int64_t credit = 0,
                      const void* buffer = nullptr, std::size_t num_bytes = 0);
    void request(const Message& message, OnReply on_reply, const void* buffer = nullptr, std::size_t num_bytes = 0);
    void handle(const Arrived& arrived);
    bool handle_reply(const Arrived& arrived);

    void send_job(LiveJob& live);
    void handle_job(LiveJob& live, const Arrived& arrived);
    void take_audio(LiveJob& live, const Audio& audio, const std::vector<zmq::message_t>& buffers);
    void end_job(const RunningJobPtr& job, JobState state, const std::optional<Failed>& error = std::nullopt);
    void fail_job(const RunningJobPtr& job, const std::string& code, const std::string& message);

    using OnStored = std::function<void(const std::string& audio, const std::string& problem)>;
    void upload(std::shared_ptr<const TakeAudio> audio, OnStored on_stored);
    void send_pieces(const std::shared_ptr<Upload>& upload);
    void fetch_pieces(const std::shared_ptr<Download>& download);
    void take_piece(const std::shared_ptr<Download>& download, const Message& reply,
                    const std::vector<zmq::message_t>& buffers);

    void emit(Event event);
    void job_changed(const RunningJobPtr& job);
    void set_state(DaemonState state, std::string reason = "");
    void show_activity();
    Rejected no_daemon() const;

    ClientOptions options_;

    // Shared with other threads.
    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> commands_;
    std::deque<Event> events_;
    std::function<void()> wake_up_;
    DaemonStatus status_;
    bool quit_ = false;
    std::atomic<RequestId> next_request_{1};

    // The worker thread's own.
    std::unique_ptr<Link> link_;
    bool is_greeted_ = false;
    Connection connection_;
    Clock::time_point heard_at_, next_try_, start_deadline_;
    std::chrono::milliseconds back_off_{0};
    bool is_starting_ = false;
    bool has_searched_ = false;
    bool start_was_tried_ = false;
    std::int64_t seq_ = 0;
    std::map<std::string, LiveJob> jobs_;
    std::map<std::int64_t, OnReply> replies_;
    std::vector<RunningJobPtr> waiting_jobs_;

    std::thread thread_;
};

}  // namespace sa3
