// sa3-core-calm: how long the audio callback takes while a stream writes; one JSON line. Knows no host and no daemon.
//
// Blocks of 64 samples at 48 kHz, a take at 44.1 kHz (the dear case: resampled), capture running, take swapped now and
// then.
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "sa3/capture_buffer.h"
#include "sa3/take_player.h"

namespace {

constexpr double kRate = 48000;
constexpr int kBlock = 64;
constexpr int kNumBlocks = 50000;

double now_us(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

double percentile(std::vector<double> values, double share) {
    std::sort(values.begin(), values.end());
    return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

}  // namespace

int main() {
    sa3::TransportLatch latch;
    sa3::TakePlayer player;
    sa3::CaptureBuffer capture;
    player.prepare(kRate);
    capture.prepare(kRate);
    capture.start(false);
    std::atomic<bool> ended{false};
    std::thread stream([&] {
        const std::vector<float> piece(2 * 4096, 0.25f);
        std::shared_ptr<sa3::TakeAudio> audio;
        while (!ended) {
            if (!audio || audio->is_complete()) {
                audio = std::make_shared<sa3::TakeAudio>(44100 * 60, 44100);
                auto take = std::make_shared<sa3::PlayableTake>();
                take->audio = audio;
                take->loop = true;
                player.set_take(take);
            }
            audio->append(piece.data(), 2, 4096);
            capture.service();
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
    });
    std::vector<float> left(kBlock), right(kBlock);
    float* channels[] = {left.data(), right.data()};
    sa3::HostPosition position;
    position.is_playing = true;
    position.bpm = 120.0;
    std::vector<double> cpu_us, wall_us;
    cpu_us.reserve(kNumBlocks);
    wall_us.reserve(kNumBlocks);
    for (int block = 0; block < kNumBlocks; ++block) {
        const double sample = static_cast<double>(block) * kBlock;
        position.ppq = sample * 2.0 / kRate + (block / 5000) * 8.0;
        const double wall = now_us(CLOCK_MONOTONIC), cpu = now_us(CLOCK_THREAD_CPUTIME_ID);
        const auto clean = latch.update(position, kRate, kBlock);
        capture.process(clean, channels, 2, kBlock);
        player.process(clean, {}, channels, 2, kBlock);
        cpu_us.push_back(now_us(CLOCK_THREAD_CPUTIME_ID) - cpu);
        wall_us.push_back(now_us(CLOCK_MONOTONIC) - wall);
        if (block % 16 == 0) std::this_thread::yield();
    }
    ended = true;
    stream.join();
    std::printf(
        "{\"block_us\": %.1f, \"cpu_p50_us\": %.2f, \"cpu_p999_us\": %.2f, \"wall_p50_us\": %.2f, \"wall_p999_us\": "
        "%.2f}\n",
        kBlock / kRate * 1e6, percentile(cpu_us, 0.5), percentile(cpu_us, 0.999), percentile(wall_us, 0.5),
        percentile(wall_us, 0.999));
    return 0;
}
