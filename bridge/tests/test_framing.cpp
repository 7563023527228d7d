// The byte vectors of tests/vectors, decoded and encoded; unreadable and unknown messages. Knows no socket.
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "sa3/framing.h"
#include "sa3/take_audio.h"

namespace {

const std::filesystem::path kVectors = std::getenv("SA3_VECTORS") ? std::getenv("SA3_VECTORS") : "tests/vectors";

sa3::Frames read_frames(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    sa3::Frames frames;
    for (std::size_t at = 0; at + 4 <= bytes.size();) {
        std::size_t size = 0;
        for (std::size_t i = 4; i-- > 0;) size = size << 8 | static_cast<unsigned char>(bytes[at + i]);
        frames.push_back(bytes.substr(at + 4, size));
        at += 4 + size;
    }
    return frames;
}

bool is_engine_only(const std::string& kind) {
    return kind == "ready" || kind == "made" || kind == "residency" || kind == "expect" || kind == "latents_written";
}

}  // namespace

TEST_CASE("every byte vector decodes, and encodes to the same bytes") {
    int num_kinds = 0;
    for (const auto& entry : std::filesystem::directory_iterator(kVectors)) {
        if (entry.path().extension() != ".bin") continue;
        CAPTURE(entry.path().filename().string());
        const auto frames = read_frames(entry.path());
        REQUIRE(frames.size() >= 3);
        const auto received = sa3::decode(frames[0], frames[1], frames[2]);
        if (is_engine_only(frames[0])) {
            CHECK_FALSE(received.has_value());
            continue;
        }
        REQUIRE(received.has_value());
        CHECK(sa3::kind_of(received->message) == frames[0]);
        const auto again = sa3::encode(received->message, received->header);
        CHECK(again[1] == frames[1]);
        CHECK(again[2] == frames[2]);
        ++num_kinds;
    }
    CHECK(num_kinds == static_cast<int>(std::size(sa3::kKinds)));
}

TEST_CASE("a widened job survives the wire field by field") {
    const auto frames = read_frames(kVectors / "generate.bin");
    const auto job = std::get<sa3::Job>(sa3::decode(frames[0], frames[1], frames[2])->message);
    CHECK(job.seed == INT64_MAX);
    CHECK(job.tempo_map.size() == 2);
    CHECK(job.source.has_value());
    CHECK(job.regions.size() == 2);
    CHECK(job.adapters.at(0).layer_filter == "to_q");
    CHECK(job.priority == "audible");
}

TEST_CASE("unknown kinds are ignored, other versions and broken bytes are told") {
    const auto frames = sa3::encode(sa3::Hello{"x"});
    CHECK_FALSE(sa3::decode("news", frames[1], frames[2]).has_value());
    sa3::Header newer;
    newer.v = 2;
    CHECK_THROWS_AS(sa3::decode("hello", sa3::encode(sa3::Hello{}, newer)[1], frames[2]), sa3::VersionMismatch);
    CHECK_THROWS_AS(sa3::decode("hello", "\xc1", frames[2]), sa3::ProtocolError);
    CHECK_THROWS_AS(sa3::decode("accepted", frames[1], frames[2]), sa3::ProtocolError);  // lacks position
    CHECK_THROWS_AS(sa3::decode("hello", frames[1],
                                "\x81\xa6"
                                "client"
                                "\x07"),
                    sa3::ProtocolError);
}

TEST_CASE("every cut of every vector is refused or read, never worse") {
    for (const auto& entry : std::filesystem::directory_iterator(kVectors)) {
        if (entry.path().extension() != ".bin") continue;
        const auto frames = read_frames(entry.path());
        for (std::size_t cut = 0; cut < frames[2].size(); ++cut) try {
                sa3::decode(frames[0], frames[1], frames[2].substr(0, cut));
            } catch (const sa3::ProtocolError&) {
            }
    }
}

TEST_CASE("content addresses are SHA-256") {
    CHECK(sa3::content_address(nullptr, 0) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    const std::vector<float> zeros(15, 0.0f);  // 60 bytes: padding needs a second block
    CHECK(sa3::content_address(zeros.data(), zeros.size()) ==
          "5dcc1b5872dd9ff1c234501f1fefda01f664164e1583c3e1bb3dbea47588ab31");
}
