// Following and finding again. Knows no recipe and no host.
#include "job_follower.h"

#include <algorithm>
#include <utility>

namespace sa3::plugin {

namespace {

constexpr std::int64_t kSearchedTakes = 500;
constexpr const char* kNotMade = "It was not finished when the project was saved. Press Make again.";

void note_made(TakeFacts& facts, const std::string& take_id, const std::string& audio, const TakeMade& made) {
    facts.take_id = take_id;
    facts.audio = audio;
    facts.loudness_lufs = made.loudness_lufs;
    facts.rms_db = made.rms_db;
    facts.peak_db = made.peak_db;
}

}  // namespace

void JobFollower::begin(Job job, TakeFacts facts, std::shared_ptr<const TakeAudio> source) {
    facts.num_samples = job.num_samples;
    facts.sample_rate = job.sample_rate;
    job_ = client_.submit(std::move(job), std::move(source));
    facts.job = job_->job();
    keys_.clear();
    is_attached_ = false;
    chosen_before_ = book_.chosen_key();
    for (std::size_t i = 0; i < job_->num_variations(); ++i) {
        TakeEntry entry;
        entry.facts = facts;
        entry.facts.variation = static_cast<std::int64_t>(i);
        entry.audio = job_->variation(i).audio;
        entry.is_live = true;
        keys_.push_back(book_.add(std::move(entry)));
    }
    if (!keys_.empty()) book_.choose(keys_.front());
}

void JobFollower::cancel() { client_.cancel(job_); }

std::optional<std::string> JobFollower::follow() {
    left_.erase(std::remove_if(left_.begin(), left_.end(), [](const auto& job) { return job->ended(); }), left_.end());
    if (!job_) return std::nullopt;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
        auto* entry = book_.find(keys_[i]);
        if (!entry) continue;
        const auto variation = job_->variation(i);
        entry->draft = variation.draft;
        entry->facts.job = job_->job();  // its source's address is known by now
        if (variation.take) {
            note_made(entry->facts, variation.take->take_id, variation.take->audio, variation.take->made);
            entry->problem = variation.take->problem;
            entry->is_live = false;
        }
    }
    if (!job_->ended()) return std::nullopt;
    drop_unmade(job_->state() == JobState::kFailed);
    keys_.clear();
    const auto error = std::exchange(job_, nullptr)->error();
    return error ? error->message : std::string();
}

/// Of a job that has ended: let go of what it did not make, but keep the beginnings of one that failed.
void JobFollower::drop_unmade(bool has_failed) {
    for (const auto key : keys_) {
        auto* entry = book_.find(key);
        if (!entry || !entry->is_live) continue;
        entry->is_live = false;
        if (has_failed && entry->audio->num_available() > 0) {
            entry->problem = "Interrupted: only the beginning is here. Press Make again.";
        } else if (has_failed && is_attached_) {
            entry->audio = nullptr;
            entry->problem = kNotMade;
        } else {
            if (book_.chosen_key() == key) book_.choose(chosen_before_);
            book_.remove(key);
        }
    }
}

void JobFollower::seek() {
    if (seeking_ != 0 || job_) return;
    const auto& entries = book_.entries();
    const auto entry = std::find_if(entries.begin(), entries.end(), [](const auto& each) { return each.is_sought; });
    if (entry == entries.end()) return;
    sought_job_id_ = entry->facts.job.job_id;
    const auto is_it = [this](const RunningJobPtr& job) { return job->id() == sought_job_id_; };
    if (const auto left = std::find_if(left_.begin(), left_.end(), is_it); left != left_.end()) {
        attach(*left);
        left_.erase(left);
    } else if (client_.status().is_connected()) {
        seeking_ = client_.ask(Status{});
    }
}

bool JobFollower::handle(const Answered& answered) {
    if (answered.request != seeking_ || seeking_ == 0) return false;
    seeking_ = 0;
    const auto* refused = std::get_if<Rejected>(&answered.reply);
    if (const auto* status = std::get_if<StatusReply>(&answered.reply)) {
        const auto is_it = [this](const JobStatus& job) { return job.job_id == sought_job_id_; };
        if (std::any_of(status->jobs.begin(), status->jobs.end(), is_it)) {
            if (job_) return true;  // begun meanwhile: this one is sought again afterwards
            for (const auto& entry : book_.entries())
                if (entry.is_sought && entry.facts.job.job_id == sought_job_id_) {
                    // Submitted again with the same content, a job sends all it has made.
                    attach(client_.submit(entry.facts.job));
                    break;
                }
        } else {
            ListTakes list;
            list.limit = kSearchedTakes;
            seeking_ = client_.ask(list);
        }
    } else if (const auto* listed = std::get_if<ListTakesReply>(&answered.reply)) {
        settle_sought(listed->takes);
    } else if (refused && refused->code != "daemon_unreachable") {
        settle_sought({});
    }
    return true;
}

/// Follow a running job with the takes that are sought from it.
void JobFollower::attach(RunningJobPtr job) {
    job_ = std::move(job);
    job_->keep();  // the state these takes came from names it
    is_attached_ = true;
    chosen_before_ = 0;
    keys_.assign(job_->num_variations(), 0);
    for (auto& entry : book_.entries()) {
        const auto variation = static_cast<std::size_t>(entry.facts.variation);
        if (!entry.is_sought || entry.facts.job.job_id != job_->id() || variation >= keys_.size()) continue;
        keys_[variation] = entry.key;
        entry.audio = job_->variation(variation).audio;
        entry.is_live = true;
        entry.is_sought = false;
    }
}

void JobFollower::settle_sought(const std::vector<TakeInfo>& stored) {
    for (auto& entry : book_.entries()) {
        if (!entry.is_sought || entry.facts.job.job_id != sought_job_id_) continue;
        entry.is_sought = false;
        entry.problem = kNotMade;
        for (const auto& take : stored)
            if (take.job_id == sought_job_id_ && take.made.variation == entry.facts.variation && !take.interrupted) {
                note_made(entry.facts, take.take_id, take.audio, take.made);
                entry.problem.clear();
            }
    }
}

void JobFollower::note_saved() {
    if (job_) job_->keep();
}

void JobFollower::adopt_book() {
    if (job_ && job_->is_kept())
        left_.push_back(job_);
    else
        client_.cancel(job_);
    job_ = nullptr;
    keys_.clear();
    seeking_ = 0;
    seek();
}

}  // namespace sa3::plugin
