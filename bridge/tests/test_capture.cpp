// Recording by transport and on demand. Knows no host API.
#include <doctest/doctest.h>

#include <vector>

#include "calm_guard.h"
#include "sa3/capture_buffer.h"

namespace {

constexpr double kRate = 48000;

struct Host {
    sa3::CaptureBuffer capture;
    sa3::HostPosition position;
    float next = 1.0f;

    explicit Host(double rate = kRate) {
        capture.prepare(rate);
        position.bpm = 120.0;
        position.ppq = 0.0;
    }
    void block(int num_samples) {
        std::vector<float> left(static_cast<std::size_t>(num_samples)), right = left;
        for (int i = 0; i < num_samples; ++i) {
            left[static_cast<std::size_t>(i)] = next;
            right[static_cast<std::size_t>(i)] = -next;
            next += 1.0f;
        }
        const float* channels[] = {left.data(), right.data()};
        capture.process(position, channels, 2, num_samples);
        if (position.is_playing) position.ppq = *position.ppq + num_samples * 2.0 / kRate;
    }
};

}  // namespace

TEST_CASE("by transport: from play to stop, to the sample, with its place") {
    Host host;
    host.position.ppq = 16.0;
    host.capture.start(true);
    host.block(64);
    CHECK(host.capture.state() == sa3::CaptureState::kWaiting);
    host.position.is_playing = true;
    for (const int size : {64, 1, 8192, 333}) host.block(size);
    host.position.is_playing = false;
    host.block(64);
    CHECK(host.capture.state() == sa3::CaptureState::kComplete);
    const auto captured = host.capture.snapshot();
    CHECK(captured.num_samples == 64 + 1 + 8192 + 333);
    CHECK(captured.start_ppq == 16.0);
    CHECK(captured.num_lost_samples == 0);
    const auto last = captured.num_samples - 1;
    CHECK(captured.audio->sample(0, 0, last + 1) == 65.0f);
    CHECK(captured.audio->sample(1, 0, last + 1) == -65.0f);
    CHECK(captured.audio->sample(1, last, last + 1) == -static_cast<float>(64 + captured.num_samples));
}

TEST_CASE("by transport: ends where the cycle wraps, inside a block or between two") {
    for (const int size : {100, 7000}) {
        Host host;
        host.position.is_playing = host.position.is_looping = true;
        host.position.cycle_start_ppq = 0.0;
        host.position.cycle_end_ppq = 1.0;  // 24000 samples
        host.capture.start(true);
        for (int done = 0; done < 30000; done += size) {
            if (*host.position.ppq >= 1.0 - 1e-9) host.position.ppq = *host.position.ppq - 1.0;
            host.block(size);
        }
        CHECK(host.capture.state() == sa3::CaptureState::kComplete);
        CHECK(host.capture.num_recorded() == 24000);
    }
}

TEST_CASE("on demand: records whatever the host does, until told to stop") {
    Host host;
    host.capture.start(false);
    host.block(100);
    host.position.ppq = 500.0;
    host.block(100);
    host.capture.stop();
    host.block(100);
    CHECK(host.capture.snapshot().num_samples == 200);
    CHECK(host.capture.state() == sa3::CaptureState::kComplete);
}

TEST_CASE("memory that came too late leaves counted silence, never a wait") {
    Host host;
    host.capture.start(false);
    for (int block = 0; block < 100; ++block) host.block(8192);  // 17 s without service()
    const auto captured = host.capture.snapshot();
    CHECK(captured.num_samples == 819200);
    CHECK(captured.num_lost_samples > 0);
    host.capture.service();
    const auto lost_before = captured.num_lost_samples;
    for (int block = 0; block < 5; ++block) host.block(8192);
    CHECK(host.capture.snapshot().num_lost_samples == lost_before);
}

TEST_CASE("a recording is at most 380 s long") {
    Host host(1000.0);
    host.capture.start(false);
    for (int block = 0; block < 50; ++block) {
        host.block(8192);
        host.capture.service();
    }
    CHECK(host.capture.num_recorded() == 380000);
    CHECK(host.capture.state() == sa3::CaptureState::kComplete);
}

TEST_CASE("380 s at 44.1 kHz: every sample, without an allocation on the audio thread, and its memory given back") {
    constexpr int kBlock = 8192;
    constexpr std::int64_t kWhole = std::int64_t{380} * 44100;
    sa3::CaptureBuffer capture;
    capture.prepare(44100.0);
    capture.start(false);
    std::vector<float> samples(kBlock);
    const float* channels[] = {samples.data(), samples.data()};
    std::int64_t num_violations = 0, done = 0;
    while (capture.state() != sa3::CaptureState::kComplete) {
        capture.service();
        samples.front() = static_cast<float>(done);  // exact below 2^24
        const CalmGuard guard;
        capture.process({}, channels, 2, kBlock);
        num_violations += guard.num_violations();
        done += kBlock;
    }
    CHECK(num_violations == 0);
    const auto captured = capture.snapshot();
    CHECK(captured.num_samples == kWhole);
    CHECK(captured.num_lost_samples == 0);
    bool is_right = true;
    for (std::int64_t at = 0; at < kWhole; at += kBlock)
        is_right = is_right && captured.audio->sample(1, at, kWhole) == static_cast<float>(at);
    CHECK(is_right);
    capture.release();
    CHECK(capture.state() == sa3::CaptureState::kIdle);
    CHECK(capture.num_recorded() == 0);
    capture.process({}, channels, 2, kBlock);  // lets go of the old one
    capture.start(false);
    capture.process({}, channels, 2, kBlock);
    CHECK(capture.num_recorded() == kBlock);
}
