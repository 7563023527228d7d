// SHA-256 (FIPS 180-4), for content addresses. Knows no audio beyond its bytes.
#include <array>
#include <cstring>

#include "sa3/take_audio.h"

namespace sa3 {
namespace {

constexpr std::array<std::uint32_t, 64> kRound = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::uint64_t kBlocksBetweenLooks = 1 << 16;  // some milliseconds

using State = std::array<std::uint32_t, 8>;

std::uint32_t rotate_right(std::uint32_t value, int num_bits) { return value >> num_bits | value << (32 - num_bits); }

void add_block(State& state, const unsigned char* block) {
    std::array<std::uint32_t, 64> words;
    for (std::size_t i = 0; i < 16; ++i)
        words[i] = std::uint32_t{block[4 * i]} << 24 | std::uint32_t{block[4 * i + 1]} << 16 |
                   std::uint32_t{block[4 * i + 2]} << 8 | std::uint32_t{block[4 * i + 3]};
    for (std::size_t i = 16; i < 64; ++i) {
        const auto a = words[i - 15], b = words[i - 2];
        words[i] = words[i - 16] + words[i - 7] + (rotate_right(a, 7) ^ rotate_right(a, 18) ^ a >> 3) +
                   (rotate_right(b, 17) ^ rotate_right(b, 19) ^ b >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < 64; ++i) {
        const auto first = h + (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) + ((e & f) ^ (~e & g)) +
                           kRound[i] + words[i];
        const auto second =
            (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
    }
    const State added = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state[i] += added[i];
}

}  // namespace

std::string content_address(const float* planar, std::size_t num_floats, const std::function<bool()>& shall_stop) {
    static_assert(sizeof(float) == 4);
    State state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    const auto* bytes = reinterpret_cast<const unsigned char*>(planar);
    const std::uint64_t num_bytes = std::uint64_t{num_floats} * 4;
    const auto num_whole = num_bytes / 64;
    for (std::uint64_t block = 0; block < num_whole; ++block) {
        if (block % kBlocksBetweenLooks == 0 && shall_stop && shall_stop()) return {};
        add_block(state, bytes + 64 * block);
    }
    std::array<unsigned char, 128> last{};
    const auto num_left = static_cast<std::size_t>(num_bytes % 64);
    if (num_left) std::memcpy(last.data(), bytes + 64 * num_whole, num_left);
    last[num_left] = 0x80;
    const std::size_t num_last = num_left < 56 ? 64 : 128;
    for (std::size_t i = 0; i < 8; ++i) last[num_last - 1 - i] = static_cast<unsigned char>(num_bytes * 8 >> (8 * i));
    for (std::size_t at = 0; at < num_last; at += 64) add_block(state, last.data() + at);
    std::string hex;
    for (const auto word : state)
        for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
    return hex;
}

}  // namespace sa3
