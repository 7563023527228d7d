// One plugin instance's work with the daemon: recipe, running job, takes, capture. Knows no window and no host API.
//
// Every public function takes one mutex and may be called from any thread but the audio thread; service() moves things
// on and is called by the processor's timer, and from the processing thread while the host renders offline.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "job_follower.h"
#include "plan.h"
#include "recipe.h"
#include "sa3/capture_buffer.h"
#include "sa3/daemon_client.h"
#include "sa3/take_player.h"
#include "sa3/tempo_trail.h"
#include "take_book.h"

namespace sa3::plugin {

/// Everything the window shows, as of one moment.
struct SessionView {
    DaemonStatus daemon;
    Recipe recipe;
    std::uint64_t recipe_version = 0;  // another number: the recipe was changed
    Plan plan;
    std::vector<TakeEntry> takes;
    std::int64_t chosen_key = 0;
    std::optional<TakeEntry> shown;  // the chosen take
    bool can_undo = false;
    bool can_redo = false;
    bool is_running = false;
    Progress progress;
    std::optional<double> eta_seconds;
    std::string message;  // the last thing that went wrong, in one sentence
    CaptureState capture = CaptureState::kIdle;
    bool capture_follows_transport = false;
    double captured_seconds = 0.0;
    Transport transport;
    PlayHead play_head;
};

/// What of a session a host project keeps.
struct SavedSession {
    Recipe recipe;
    std::vector<TakeFacts> takes;
    std::int64_t chosen = -1;  // index into takes
    Transport transport;
    double anchor_ppq = 0.0;
};

class Session {
public:
    Session(TransportLatch& latch, TempoTrail& trail, TakePlayer& player, CaptureBuffer& capture);

    void service(bool match_loudness);
    SessionView view();

    void set_recipe(Recipe recipe);
    Recipe recipe();
    void prepare(double host_rate);

    void start_daemon() { client_.start_daemon(); }
    void generate();
    void repaint(std::vector<Region> regions);
    void continue_take();
    void restyle();
    /// Make the chosen take again from its recipe.
    void make_again();
    void cancel();

    void choose(std::int64_t key);
    void undo();
    void redo();
    void toggle_a_b();
    void set_starred(std::int64_t key, bool starred);
    void remove(std::int64_t key);
    void set_auditioning(bool on, double from_sample);
    bool is_auditioning();

    void start_capture(bool with_transport);
    void stop_capture();

    SavedSession save();
    void restore(const SavedSession& saved);
    void set_message(std::string message);

    /// Offline rendering: move on until what is to be played is known, or the time is up. False then.
    bool wait_until_playable(std::chrono::milliseconds timeout, bool match_loudness);

private:
    using Lock = std::lock_guard<std::mutex>;

    void follow_transport();
    void handle(const Event& event);
    void follow_job();
    void take_capture();
    void fetch_chosen();
    void publish(bool match_loudness);
    bool is_awaiting() const;
    Plan plan();
    std::string length_problem(std::int64_t num_samples, std::int64_t sample_rate) const;
    Job job_from_recipe();
    double common_loudness() const;
    const TakeEntry* whole_source(const char* verb);
    void submit(Job job, TakeFacts facts, std::shared_ptr<const TakeAudio> source);
    void submit_edit(const char* label, const TakeEntry& source, Job job);

    std::mutex mutex_;
    TransportLatch& latch_;
    TempoTrail& trail_;
    TakePlayer& player_;
    CaptureBuffer& capture_;
    Recipe recipe_;
    std::uint64_t recipe_version_ = 0;
    TakeBook book_;
    bool has_taken_capture_ = true;
    bool capture_follows_transport_ = false;
    Transport transport_;
    TempoMemory tempo_memory_;
    double anchor_ppq_ = 0.0;
    double host_rate_ = 0.0;  // 0: the host has not told it yet
    std::string message_;

    RequestId fetch_ = 0;
    std::int64_t fetch_key_ = 0;

    DaemonClient client_;
    JobFollower job_;
};

}  // namespace sa3::plugin
