// The one job of a session: followed to its end, its takes kept in the book; jobs that were running when the state was
// saved are found again. Knows no recipe, no host and no audio thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sa3/daemon_client.h"
#include "take_book.h"

namespace sa3::plugin {

/// Every function is called under the session's mutex. [not audio-thread]
///
/// A job goes on after the plugin's end only where a state has named it: that state finds its take again. Whether a
/// plugin was deleted or its project closed cannot be seen, but a job that no state names nobody can ever ask for.
class JobFollower {
public:
    JobFollower(DaemonClient& client, TakeBook& book) : client_(client), book_(book) {}

    const RunningJob* running() const { return job_.get(); }

    /// Submit a job and put its takes, which fill in as they come, into the book; the first is chosen.
    void begin(Job job, TakeFacts facts, std::shared_ptr<const TakeAudio> source);
    void cancel();
    /// Take over what is new of the job. When it has ended, returns what to tell: "" when all went well.
    std::optional<std::string> follow();
    /// Ask the daemon about takes that were being made when the state was saved: first whether their job still lives (it
    /// is followed then), else whether they are stored. One job after the other.
    void seek();
    /// Take the answer to what seek() asked; false: it answers something else.
    bool handle(const Answered& answered);

    /// The book's takes in the making are named in a state from now on.
    void note_saved();
    /// The book holds other takes now: follow on where they are of the same job, else cancel it, unless a state has named
    /// it: that state's own plugin may be following it, or it may come back by the host's undo.
    void adopt_book();

private:
    void attach(RunningJobPtr job);
    void settle_sought(const std::vector<TakeInfo>& stored);
    void drop_unmade(bool has_failed);

    DaemonClient& client_;
    TakeBook& book_;
    RunningJobPtr job_;
    std::vector<RunningJobPtr> left_;  // go on although the book does not hold their takes
    std::vector<std::int64_t> keys_;   // of the takes of job_'s variations
    std::int64_t chosen_before_ = 0;
    bool is_attached_ = false;  // it was begun before the state was saved
    std::string sought_job_id_;
    RequestId seeking_ = 0;
};

}  // namespace sa3::plugin
