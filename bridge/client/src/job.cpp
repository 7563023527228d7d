// Ids, seeds and the editing verbs. Knows no bytes and no socket.
#include "sa3/job.h"

#include <random>
#include <utility>

namespace sa3 {

std::string new_job_id() {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::random_device random;
    std::string id;
    for (int word = 0; word < 2; ++word) {
        auto bits = static_cast<std::uint32_t>(random());
        for (int digit = 0; digit < 8; ++digit, bits >>= 4) id += kDigits[bits & 15];
    }
    return id;
}

std::int64_t random_seed() { return static_cast<std::int64_t>(static_cast<std::uint32_t>(std::random_device{}())); }

Job inpaint(Job job, std::string audio, std::int64_t source_num_samples, std::vector<Region> regions) {
    job.num_samples = source_num_samples;
    job.source = Source{std::move(audio), 0};
    job.regions = std::move(regions);
    return job;
}

Job continue_after(Job job, std::string audio, std::int64_t source_num_samples, std::int64_t num_samples) {
    job.num_samples = source_num_samples + num_samples;
    job.source = Source{std::move(audio), 0};
    job.regions = {Region{source_num_samples, job.num_samples}};
    return job;
}

Job continue_before(Job job, std::string audio, std::int64_t source_num_samples, std::int64_t num_samples) {
    job.num_samples = num_samples + source_num_samples;
    job.source = Source{std::move(audio), num_samples};
    job.regions = {Region{0, num_samples}};
    return job;
}

Job restyle(Job job, std::string audio, std::int64_t source_num_samples, double noise_level) {
    job.num_samples = source_num_samples;
    job.source = Source{std::move(audio), 0};
    job.noise_level = noise_level;
    return job;
}

Job loop(Job job, std::string audio, std::int64_t source_num_samples) {
    job.num_samples = source_num_samples;
    job.source = Source{std::move(audio), 0};
    job.loop = true;
    return job;
}

}  // namespace sa3
