// The take in the host's time: exact places, jumps, cycles, rates, streams. Knows no host API.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "sa3/take_player.h"

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int kFade = 240;  // 5 ms at 48 kHz

std::shared_ptr<sa3::PlayableTake> take_of(std::vector<float> mono, double rate = 48000, double start_ppq = 0.0) {
    auto take = std::make_shared<sa3::PlayableTake>();
    const auto count = static_cast<std::int64_t>(mono.size());
    auto planar = mono;
    for (const float value : mono) planar.push_back(-value);
    take->audio = sa3::TakeAudio::from_planar(planar.data(), count, rate);
    take->start_ppq = start_ppq;
    return take;
}

std::vector<float> counting(int count) {
    std::vector<float> samples(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) samples[static_cast<std::size_t>(i)] = static_cast<float>(i + 1);
    return samples;
}

std::vector<float> sine(int count, double hertz, double rate) {
    std::vector<float> samples(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i)
        samples[static_cast<std::size_t>(i)] = static_cast<float>(0.5 * std::sin(2 * kPi * hertz * i / rate));
    return samples;
}

/// A host at 120 BPM that plays from sample `time` on; left output is kept.
struct Host {
    sa3::TakePlayer player;
    double rate;
    std::int64_t time = 0;
    double bpm = 120.0;
    bool playing = true;
    sa3::HostPosition position;
    sa3::PlaySettings settings;
    std::vector<float> out;
    float input = 0.0f;

    explicit Host(double host_rate = 48000) : rate(host_rate) { player.prepare(rate); }

    void block(int size) {
        position.is_playing = playing;
        position.bpm = bpm;
        position.ppq = static_cast<double>(time) * bpm / (60 * rate);
        std::vector<float> left(static_cast<std::size_t>(size), input), right = left;
        float* channels[] = {left.data(), right.data()};
        player.process(position, settings, channels, 2, size);
        out.insert(out.end(), left.begin(), left.end());
        if (playing) time += size;
    }
    void run(int num_samples, int size) {
        for (int done = 0; done < num_samples; done += size) block(std::min(size, num_samples - done));
    }
    float at(std::size_t index) const { return out.at(index); }
};

float largest_step(const std::vector<float>& samples) {
    float largest = 0.0f;
    for (std::size_t i = 1; i < samples.size(); ++i) largest = std::max(largest, std::abs(samples[i] - samples[i - 1]));
    return largest;
}

}  // namespace

TEST_CASE("without a take the input passes bit for bit, whatever is in it") {
    sa3::TakePlayer player;
    player.prepare(48000);
    std::vector<float> samples = {0.1f, -0.0f, 1e-42f, std::numeric_limits<float>::infinity(), 3e38f};
    samples.push_back(std::numeric_limits<float>::quiet_NaN());
    for (const int num_channels : {0, 1, 2, 6}) {
        auto copy = samples;
        float* channels[6];
        std::fill_n(channels, 6, copy.data());
        sa3::HostPosition position;
        position.is_playing = true;
        position.ppq = 1.0;
        player.process(position, {}, channels, num_channels, static_cast<int>(copy.size()));
        CHECK(std::equal(copy.begin(), copy.end() - 1, samples.begin()));
        CHECK(std::signbit(copy[1]));
        CHECK(std::isnan(copy.back()));
    }
}

TEST_CASE("a take is exact to the sample at every block size") {
    for (const int size : {1, 64, 65, 512, 8192, 8193}) {
        CAPTURE(size);
        Host host;
        host.time = 47000;
        host.player.set_take(take_of(counting(20000), 48000, 2.0));  // sample 48000
        host.run(30000, size);
        bool is_exact = true;
        for (int i = 0; i < 30000; ++i) {
            const int index = i - 1000;
            const float expected = index >= 0 && index < 20000 ? static_cast<float>(index + 1) : 0.0f;
            is_exact = is_exact && host.at(static_cast<std::size_t>(i)) == expected;
        }
        CHECK(is_exact);
    }
}

TEST_CASE("the clip's place is rounded as the job's was, at odd tempos") {
    for (const double bpm : {127.3, 90.25, 61.7, 173.001}) {
        Host host;
        host.bpm = bpm;
        const double start_ppq = 7.0;
        const auto start = static_cast<std::int64_t>(std::floor(start_ppq * 60 / bpm * 48000 + 0.5));
        host.time = start - 100;
        host.player.set_take(take_of(counting(5000), 48000, start_ppq));
        host.run(3000, 64);
        CHECK(host.at(100) == 1.0f);
        CHECK(host.at(2999) == 2900.0f);
    }
}

TEST_CASE("a start inside the take and a jump fade; afterwards the place is exact") {
    Host host;
    host.player.set_take(take_of(counting(100000)));
    host.time = 10000;
    host.run(2048, 64);
    CHECK(host.at(0) < 200.0f);
    CHECK(host.at(kFade + 1) == 10000.0f + kFade + 2);
    host.time = 50000;
    host.run(2048, 64);
    CHECK(host.at(2048 + kFade + 1) == 50000.0f + kFade + 2);
    CHECK(std::abs(host.at(2048) - host.at(2047)) < 400.0f);
}

TEST_CASE("the host stops: the take fades, then the input passes untouched") {
    Host host;
    host.input = 0.25f;
    host.player.set_take(take_of(std::vector<float>(48000, 0.5f)));
    host.run(4800, 64);
    host.playing = false;
    host.run(4800, 64);
    CHECK(host.at(4799) == 0.75f);
    CHECK(host.at(4800 + 100) < 0.75f);
    CHECK(host.at(4800 + kFade + 64) == 0.25f);
    CHECK(largest_step(host.out) < 0.01f);
}

TEST_CASE("a cycle that wraps inside a block wraps the take at that sample, its onset untouched") {
    for (const bool repeats : {true, false}) {
        CAPTURE(repeats);
        Host host;
        auto take = take_of(counting(24000));
        take->loop = repeats;
        host.player.set_take(take);
        host.position.is_looping = true;
        host.position.cycle_start_ppq = 0.0;
        host.position.cycle_end_ppq = 1.0;
        for (int block = 0; block < 30; ++block) {
            host.block(5000);
            host.time %= 24000;
        }
        bool is_exact = true;
        for (std::size_t i = 0; i < host.out.size(); ++i)
            is_exact = is_exact && host.out[i] == static_cast<float>(i % 24000 + 1);
        CHECK(is_exact);
    }
}

TEST_CASE("a take at another rate is resampled: a sine stays a sine") {
    for (const double take_rate : {44100.0, 48000.0, 96000.0, 192000.0})
        for (const double host_rate : {44100.0, 48000.0, 88200.0, 192000.0}) {
            CAPTURE(take_rate);
            CAPTURE(host_rate);
            Host host(host_rate);
            host.player.set_take(take_of(sine(static_cast<int>(take_rate), 997.0, take_rate), take_rate));
            const int count = static_cast<int>(host_rate / 4);
            host.run(count, 333);
            const auto wanted = sine(count, 997.0, host_rate);
            double worst = 0.0;
            for (int i = 2000; i < count; ++i) {
                const auto at = static_cast<std::size_t>(i);
                worst = std::max(worst, std::abs(static_cast<double>(host.out[at]) - wanted[at]));
            }
            CHECK(20 * std::log10(worst / 0.5 + 1e-12) < -75.0);
        }
}

TEST_CASE("what a lower host rate cannot carry is gone, not folded back") {
    Host host(48000);
    host.player.set_take(take_of(sine(192000, 40000.0, 192000), 192000));
    host.run(24000, 512);
    const float loudest = *std::max_element(host.out.begin() + 2000, host.out.end());
    CHECK(20 * std::log10(loudest / 0.5f + 1e-9f) < -75.0f);
}

TEST_CASE("a tempo change while playing breaks nothing off") {
    Host host;
    host.player.set_take(take_of(sine(480000, 220.0, 48000)));
    double ppq = 0.0;
    for (int block = 0; block < 3000; ++block) {
        host.bpm = 120.0 + (block / 100) * 3.0;
        host.time = static_cast<std::int64_t>(std::llround(ppq * 60 * host.rate / host.bpm));
        host.block(64);
        ppq += 64 * host.bpm / (60 * host.rate);
    }
    CHECK(largest_step(host.out) < 0.03f);  // the sine itself moves by 0.0144 a sample
}

TEST_CASE("a place too far away to be counted in samples is silence, whether the host tells it or a state") {
    for (const double take_rate : {48000.0, 96000.0})
        for (const double start_ppq : {0.0, 1e300, -1e300}) {
            CAPTURE(take_rate);
            CAPTURE(start_ppq);
            Host host;
            host.bpm = 1.0;
            host.time = (std::int64_t{1} << 40) * 60 * 48000;  // the farthest that passes for a position
            auto take = take_of(counting(1000), take_rate, start_ppq);
            take->loop = true;
            host.player.set_take(take);
            host.run(4096, 512);
            CHECK(largest_step(host.out) == 0.0f);
        }
}

TEST_CASE("varispeed and jittering hosts are followed without clicks") {
    Host host;
    host.player.set_take(take_of(sine(480000, 220.0, 48000)));
    double time = 0.0;
    for (int block = 0; block < 3000; ++block) {
        host.time = static_cast<std::int64_t>(time + (block % 3 - 1));
        host.block(64);
        time += 64 * 1.02;
    }
    CHECK(largest_step(host.out) < 0.05f);
}

TEST_CASE("audio that has not come yet is silence; it sounds once it is there, and joins without a click") {
    Host host;
    auto audio = std::make_shared<sa3::TakeAudio>(96000, 48000);
    auto take = std::make_shared<sa3::PlayableTake>();
    take->audio = audio;
    host.player.set_take(take);
    host.run(9600, 64);
    CHECK(*std::max_element(host.out.begin(), host.out.end()) == 0.0f);
    const std::vector<float> piece(96000, 0.5f);
    audio->append(piece.data(), 1, 48000);
    host.run(9600, 64);
    CHECK(host.out.back() == 0.5f);
    host.run(48000, 64);  // runs into the end of what is there
    CHECK(host.out.back() == 0.0f);
    audio->append(piece.data(), 1, 48000);
    host.run(1600, 64);
    CHECK(host.out.back() == 0.5f);
    CHECK(largest_step(host.out) < 0.01f);
}

TEST_CASE("a draft sounds where the final audio has not come, and gives way to it") {
    Host host;
    auto take = std::make_shared<sa3::PlayableTake>();
    auto audio = std::make_shared<sa3::TakeAudio>(96000, 48000);
    const std::vector<float> rough(2 * 96000, 0.2f), fine(96000, 0.4f);
    take->audio = audio;
    take->draft = sa3::TakeAudio::from_planar(rough.data(), 96000, 48000);
    host.player.set_take(take);
    host.run(4800, 64);
    CHECK(host.out.back() == 0.2f);
    audio->append(fine.data(), 1, 96000);
    host.run(4800, 64);
    CHECK(host.out.back() == 0.4f);
    CHECK(largest_step(host.out) < 0.01f);
}

TEST_CASE("takes change by a fade at the same place, each with its gain") {
    Host host;
    auto quiet = take_of(std::vector<float>(96000, 0.25f));
    quiet->gain = 2.0f;
    host.player.set_take(quiet);
    host.run(4800, 64);
    CHECK(host.out.back() == 0.5f);
    host.player.set_take(take_of(std::vector<float>(96000, 0.75f)));
    host.run(4800, 64);
    CHECK(host.out.back() == 0.75f);
    host.player.set_take(nullptr);
    host.run(4800, 64);
    CHECK(host.out.back() == 0.0f);
    CHECK(largest_step(host.out) < 0.01f);
}

TEST_CASE("takes that come faster than they can fade are all freed") {
    std::weak_ptr<sa3::PlayableTake> last;
    {
        Host host;
        for (int i = 0; i < 500; ++i) {
            auto take = take_of(counting(1000));
            last = take;
            host.player.set_take(take);
            if (i % 3 == 0) host.block(64);
        }
        host.player.set_take(nullptr);
        host.run(2000, 64);
        host.player.collect();
        CHECK(last.expired());
    }
}

TEST_CASE("dry, wet, gain and mute move smoothly to exact values") {
    Host host;
    host.input = 0.5f;
    host.player.set_take(take_of(std::vector<float>(480000, 0.25f)));
    host.run(4800, 64);
    CHECK(host.out.back() == 0.75f);
    host.settings.mute_input = true;
    host.run(4800, 64);
    CHECK(host.out.back() == 0.25f);
    host.settings.mute_input = false;
    host.settings.dry_wet = 0.0f;
    host.run(4800, 64);
    CHECK(host.out.back() == 0.5f);
    host.settings.dry_wet = 0.5f;
    host.settings.gain = std::numeric_limits<float>::quiet_NaN();
    host.run(4800, 64);
    CHECK(host.out.back() == 0.75f);
    CHECK(largest_step(host.out) < 0.01f);
}

TEST_CASE("an audition plays while the host stands still, and ends with the take") {
    Host host;
    host.playing = false;
    host.player.set_take(take_of(counting(10000)));
    host.player.start_audition(1000);
    host.run(4800, 64);
    CHECK(host.player.is_auditioning());
    CHECK(host.at(kFade + 1) == 1000.0f + kFade + 2);
    CHECK(host.player.play_head().is_sounding);
    host.run(9600, 64);
    CHECK_FALSE(host.player.is_auditioning());
    CHECK(host.out.back() == 0.0f);
}

TEST_CASE("an audition that was asked for before the host prepares plays from its first sample") {
    Host host;
    host.playing = false;
    host.player.set_take(take_of(counting(10000)));
    host.player.start_audition(0);
    host.player.prepare(host.rate);
    host.run(480, 64);
    CHECK(host.at(0) == 1.0f);
    CHECK(host.at(479) == 480.0f);
}

TEST_CASE(
    "offline, a block waits for its audio, is told when none will come, and never waits for what it does not need") {
    Host host;
    auto audio = std::make_shared<sa3::TakeAudio>(48000, 48000);
    auto take = std::make_shared<sa3::PlayableTake>();
    take->audio = audio;
    host.player.set_take(take);
    sa3::HostPosition position;
    position.bpm = 120.0;
    position.ppq = 0.0;
    const auto patience = std::chrono::seconds(60);
    CHECK(host.player.wait_for_audio(position, 512, patience));  // not playing
    position.is_playing = true;
    position.ppq = 100.0;
    CHECK(host.player.wait_for_audio(position, 512, patience));  // beyond the take
    position.ppq = 0.0;
    CHECK_FALSE(host.player.wait_for_audio(position, 512, std::chrono::milliseconds(5)));
    std::thread writer([&audio] {
        const std::vector<float> piece(48000, 0.5f);
        audio->append(piece.data(), 1, 24000);
        audio->end();
    });
    CHECK(host.player.wait_for_audio(position, 512, patience));
    writer.join();
    position.ppq = 1.5;
    CHECK_FALSE(host.player.wait_for_audio(position, 512, patience));  // ended without it: told at once
}

TEST_CASE("loudness is matched within its limits") {
    CHECK(sa3::loudness_match_gain(-14.0, -20.0, -6.0, -14.0) == 1.0f);
    CHECK(sa3::loudness_match_gain(-20.0, -20.0, -12.0, -14.0) == doctest::Approx(1.9953).epsilon(1e-4));
    CHECK(sa3::loudness_match_gain(-40.0, -20.0, -60.0, -14.0) == doctest::Approx(7.9433).epsilon(1e-4));  // +18 dB
    CHECK(sa3::loudness_match_gain(-20.0, -20.0, -1.1, -14.0) ==
          doctest::Approx(1.1220).epsilon(1e-4));  // the peak stays below -0.1
    CHECK(sa3::loudness_match_gain(std::nullopt, -14.0, -3.0, -20.0) == doctest::Approx(0.5012).epsilon(1e-4));
    CHECK(sa3::loudness_match_gain(-std::numeric_limits<double>::infinity(), 0, 0, -14) == 1.0f);
}
