// What everybody may ask of a running job. Knows no socket.
#include <algorithm>
#include <utility>

#include "sa3/daemon_client.h"

namespace sa3 {

RunningJob::RunningJob(Job job, std::shared_ptr<const TakeAudio> source)
    : job_(std::move(job)),
      num_variations_(static_cast<std::size_t>(std::clamp<std::int64_t>(job_.num_variations, 1, 64))),
      source_(std::move(source)) {
    for (std::size_t i = 0; i < num_variations_; ++i)
        variations_.push_back({std::make_shared<TakeAudio>(job_.num_samples, static_cast<double>(job_.sample_rate)),
                               nullptr, std::nullopt});
}

Job RunningJob::job() const {
    const std::lock_guard lock(mutex_);
    return job_;
}

Variation RunningJob::variation(std::size_t index) const {
    const std::lock_guard lock(mutex_);
    return variations_.at(index);
}

std::optional<Accepted> RunningJob::accepted() const {
    const std::lock_guard lock(mutex_);
    return accepted_;
}

Progress RunningJob::progress() const {
    const std::lock_guard lock(mutex_);
    return progress_;
}

std::optional<double> RunningJob::eta_seconds() const {
    const std::lock_guard lock(mutex_);
    if (!eta_seconds_) return std::nullopt;
    const std::chrono::duration<double> passed = Clock::now() - eta_told_at_;
    return std::max(0.0, *eta_seconds_ - passed.count());
}

std::optional<Failed> RunningJob::error() const {
    const std::lock_guard lock(mutex_);
    return error_;
}

std::optional<Finished> RunningJob::finished() const {
    const std::lock_guard lock(mutex_);
    return finished_;
}

}  // namespace sa3
