// Proof of calm: the audio path beside a stream and a busy message thread neither allocates nor locks. Knows no host.
//
// The same storm runs under ThreadSanitizer, AddressSanitizer and RealtimeSanitizer.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>

#include "calm_guard.h"
#include "sa3/capture_buffer.h"
#include "sa3/take_player.h"

namespace {

constexpr double kRate = 48000;

struct AudioPath {
    sa3::TransportLatch latch;
    sa3::TakePlayer player;
    sa3::CaptureBuffer capture;

    void block(const sa3::HostPosition& told, const sa3::PlaySettings& settings, float* const* channels,
               int num_samples) SA3_NONBLOCKING {
        const auto position = latch.update(told, kRate, num_samples);
        capture.process(position, channels, 2, num_samples);
        player.process(position, settings, channels, 2, num_samples);
    }
};

}  // namespace

TEST_CASE("the guard catches what it is there for") {
    if (!CalmGuard::is_active()) return;
    std::mutex mutex;
    std::int64_t num_caught = 0;
    {
        const CalmGuard guard;
        auto* volatile memory = std::malloc(10);
        std::free(memory);
        mutex.lock();
        num_caught = guard.num_violations();
    }
    mutex.unlock();
    CHECK(num_caught == 3);
}

TEST_CASE("a storm of streams, takes, jumps and captures does not disturb the audio thread") {
    AudioPath path;
    path.player.prepare(kRate);
    path.capture.prepare(kRate);
    std::atomic<bool> ended{false};

    std::thread others([&path, &ended] {
        std::minstd_rand random(7);
        const std::vector<float> piece(2 * 4096, 0.25f);
        std::shared_ptr<sa3::TakeAudio> audio;
        for (int round = 0; !ended; ++round) {
            if (!audio || audio->is_complete()) {
                const double rate = round % 2 ? 44100 : kRate;
                audio = std::make_shared<sa3::TakeAudio>(4096 * 40, rate);
                auto take = std::make_shared<sa3::PlayableTake>();
                take->audio = audio;
                take->loop = random() % 2;
                if (random() % 3 == 0) take->draft = sa3::TakeAudio::from_planar(piece.data(), 4096, rate);
                path.player.set_take(take);
            }
            audio->append(piece.data(), 2, 4096);
            if (random() % 16 == 0) path.capture.start(random() % 2);
            if (random() % 32 == 0) path.player.start_audition(static_cast<double>(random() % 100000));
            if (random() % 32 == 1) path.player.stop_audition();
            path.capture.service();
            path.player.collect();
            (void)path.latch.read();
            (void)path.capture.snapshot();
            (void)path.player.play_head();
        }
    });

    std::minstd_rand random(11);
    std::vector<float> left(8193), right(8193);
    float* channels[] = {left.data(), right.data()};
    sa3::HostPosition position;
    position.bpm = 120.0;
    position.cycle_start_ppq = 0.0;
    position.cycle_end_ppq = 4.0;
    double ppq = 0.0;
    std::int64_t num_violations = 0;
    const int sizes[] = {1, 64, 65, 512, 8193};
    for (int block = 0; block < 20000; ++block) {
        const int size = sizes[block % 100 == 0 ? random() % 5 : random() % 4];
        std::fill_n(left.data(), size, 0.1f);
        std::fill_n(right.data(), size, 0.1f);
        if (random() % 50 == 0) ppq = random() % 16;
        if (random() % 200 == 0) position.is_playing = !position.is_playing;
        if (random() % 200 == 0) position.is_looping = !position.is_looping;
        position.ppq = ppq;
        sa3::PlaySettings settings;
        settings.dry_wet = random() % 4 ? 0.5f : 0.75f;
        const CalmGuard guard;
        path.block(position, settings, channels, size);
        num_violations += guard.num_violations();
        ppq += size * 2.0 / kRate;
        if (position.is_looping && ppq >= 4.0) ppq -= 4.0;
    }
    ended = true;
    others.join();
    CHECK(num_violations == 0);
}
