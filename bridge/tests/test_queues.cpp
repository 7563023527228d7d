// Ring, newest value, growing audio and the handover between threads. Knows no player.
#include <doctest/doctest.h>

#include <atomic>
#include <limits>
#include <thread>

#include "sa3/handover.h"
#include "sa3/latest_value.h"
#include "sa3/ring_buffer.h"
#include "sa3/take_audio.h"

TEST_CASE("a ring gives everything once, in order, across threads") {
    sa3::RingBuffer<int> ring(37);
    constexpr int kCount = 200000;
    std::thread producer([&ring] {
        for (int i = 0; i < kCount;)
            if (ring.push(i))
                ++i;
            else
                std::this_thread::yield();
    });
    int expected = 0, items[16];
    while (expected < kCount) {
        const auto count = ring.pop(items, 16);
        for (std::size_t i = 0; i < count; ++i) REQUIRE(items[i] == expected++);
        if (count == 0) std::this_thread::yield();
    }
    producer.join();
    CHECK(ring.num_ready() == 0);
}

TEST_CASE("a full ring takes nothing, an empty one gives nothing") {
    sa3::RingBuffer<int> ring(3);
    const int items[] = {1, 2, 3, 4, 5};
    CHECK(ring.push(items, 5) == 3);
    CHECK_FALSE(ring.push(9));
    int out[5];
    CHECK(ring.pop(out, 5) == 3);
    CHECK(out[2] == 3);
    CHECK(ring.pop(out, 5) == 0);
}

TEST_CASE("the newest value is always whole and never goes back") {
    struct Pair {
        std::int64_t a = 0, b = 0;
    };
    sa3::LatestValue<Pair> value;
    std::atomic<bool> ended{false};
    std::thread writer([&] {
        for (std::int64_t i = 1; i <= 100000; ++i) value.write({i, -i});
        ended = true;
    });
    std::int64_t last = 0;
    while (!ended) {
        const auto pair = value.read();
        REQUIRE(pair.a == -pair.b);
        REQUIRE(pair.a >= last);
        last = pair.a;
    }
    writer.join();
    CHECK(value.read().a == 100000);
}

TEST_CASE("audio that grows is read as it was written, while it is written") {
    constexpr std::int64_t kSamples = 3 * sa3::TakeAudio::kBlockSamples + 777;
    sa3::TakeAudio audio(kSamples, 48000);
    std::thread writer([&audio] {
        std::vector<float> piece;
        for (std::int64_t start = 0, size = 1; start < kSamples; start += size, size = size * 3 % 5003 + 1) {
            const auto here = std::min(size, kSamples - start);
            piece.resize(static_cast<std::size_t>(2 * here));
            for (std::int64_t i = 0; i < here; ++i) {
                piece[static_cast<std::size_t>(i)] = static_cast<float>(start + i);
                piece[static_cast<std::size_t>(here + i)] = -static_cast<float>(start + i);
            }
            audio.append(piece.data(), 2, here);
        }
    });
    std::int64_t checked = 0;
    std::vector<float> out(1000);
    while (checked < kSamples) {
        const auto available = audio.num_available();
        const auto here = std::min<std::int64_t>(1000, available - checked);
        audio.read(1, checked, here, out.data());
        for (std::int64_t i = 0; i < here; ++i)
            REQUIRE(out[static_cast<std::size_t>(i)] == -static_cast<float>(checked + i));
        if (here > 0) REQUIRE(audio.peak(0, available).high >= 0.0f);
        checked += here;
        if (here == 0) std::this_thread::yield();
    }
    writer.join();
    CHECK(audio.is_complete());
    CHECK(audio.peak(0, kSamples).low <= -static_cast<float>(kSamples - 512));
}

TEST_CASE("audio takes no more than its length, and no sample that is not finite") {
    sa3::TakeAudio audio(3, 44100);
    const float mono[] = {1.0f, std::numeric_limits<float>::quiet_NaN(), 3.0f, 4.0f};
    CHECK(audio.append(mono, 1, 4) == 3);
    CHECK(audio.planar() == std::vector<float>{1.0f, 0.0f, 3.0f, 1.0f, 0.0f, 3.0f});
    CHECK(audio.sample(0, -1, 3) == 0.0f);
    CHECK(audio.sample(0, 3, 3) == 0.0f);
}

TEST_CASE("waiting for audio that will never come ends at once") {
    sa3::TakeAudio audio(100, 44100);
    audio.end();
    CHECK_FALSE(audio.wait_available(1, std::chrono::seconds(60)));
}

TEST_CASE("what is handed over is freed exactly once, after it was let go of") {
    struct Counted {
        std::atomic<int>& alive;
        explicit Counted(std::atomic<int>& count) : alive(count) { ++alive; }
        ~Counted() { --alive; }
    };
    std::atomic<int> alive{0};
    {
        sa3::Handover<Counted> handover;
        std::atomic<bool> ended{false};
        std::thread audio([&] {
            Counted* held = nullptr;
            while (!ended)
                if (auto* arrived = handover.pick_up()) {
                    handover.retire(held);
                    held = arrived;
                }
        });
        for (int i = 0; i < 20000; ++i) handover.give(std::make_unique<Counted>(alive));
        ended = true;
        audio.join();
        handover.collect();
        CHECK(alive <= 2);
    }
    CHECK(alive == 0);
}
