// The worker's jobs, from sending them to their last sample. Knows neither how a daemon is found nor stored audio.
#include <algorithm>
#include <cstring>
#include <utility>

#include "daemon_worker.h"

namespace sa3 {
namespace {

constexpr std::int64_t kNumCredits = 16;
constexpr std::int64_t kReturnCredits = 4;

}  // namespace

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
