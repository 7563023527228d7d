// Long arithmetic on 32-bit limbs, schoolbook methods: tempo maps need few and short numbers. Knows no music.
#include "sa3/rational.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace sa3 {

BigInt::BigInt(std::int64_t value) : negative_(value < 0) {
    auto magnitude = value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
    for (; magnitude; magnitude >>= 32) limbs_.push_back(static_cast<std::uint32_t>(magnitude));
}

BigInt::BigInt(Limbs limbs, bool negative) : limbs_(std::move(limbs)) {
    trim(limbs_);
    negative_ = negative && !limbs_.empty();
}

void BigInt::trim(Limbs& limbs) {
    while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
}

BigInt BigInt::power_of_two(unsigned exponent) {
    Limbs limbs(exponent / 32 + 1, 0);
    limbs.back() = std::uint32_t{1} << exponent % 32;
    return {std::move(limbs), false};
}

unsigned BigInt::num_trailing_zeros() const {
    if (limbs_.empty()) return 0;
    unsigned limb = 0, bit = 0;
    while (limbs_[limb] == 0) ++limb;
    while (!(limbs_[limb] >> bit & 1)) ++bit;
    return 32 * limb + bit;
}

BigInt BigInt::shifted_right(unsigned num_bits) const {
    const auto num_limbs = std::min<std::size_t>(num_bits / 32, limbs_.size());
    Limbs shifted(limbs_.begin() + static_cast<std::ptrdiff_t>(num_limbs), limbs_.end());
    if (const auto rest = num_bits % 32)
        for (std::size_t i = 0; i < shifted.size(); ++i) {
            const auto above = i + 1 < shifted.size() ? shifted[i + 1] : 0;
            shifted[i] = shifted[i] >> rest | above << (32 - rest);
        }
    return {std::move(shifted), negative_};
}

int BigInt::compare_magnitudes(const Limbs& a, const Limbs& b) {
    if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
    for (auto i = a.size(); i-- > 0;)
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    return 0;
}

BigInt::Limbs BigInt::add_magnitudes(const Limbs& a, const Limbs& b) {
    const auto& longer = a.size() >= b.size() ? a : b;
    const auto& shorter = a.size() >= b.size() ? b : a;
    Limbs sum(longer.size() + 1);
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < longer.size(); ++i) {
        carry += std::uint64_t{longer[i]} + (i < shorter.size() ? shorter[i] : 0);
        sum[i] = static_cast<std::uint32_t>(carry);
        carry >>= 32;
    }
    sum.back() = static_cast<std::uint32_t>(carry);
    return sum;
}

BigInt::Limbs BigInt::subtract_magnitudes(const Limbs& a, const Limbs& b) {
    Limbs difference(a.size());
    std::int64_t borrow = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        auto digit = std::int64_t{a[i]} - (i < b.size() ? std::int64_t{b[i]} : 0) - borrow;
        borrow = digit < 0;
        difference[i] = static_cast<std::uint32_t>(digit);
    }
    return difference;
}

// Knuth, The Art of Computer Programming 2, algorithm D: estimates each quotient digit from the divisor's two highest
// limbs.
BigInt::Limbs BigInt::divide_magnitudes(const Limbs& a, const Limbs& b, Limbs& remainder) {
    if (compare_magnitudes(a, b) < 0) {
        remainder = a;
        return {};
    }
    Limbs quotient(a.size() - b.size() + 1);
    if (b.size() == 1) {
        std::uint64_t rest = 0;
        for (auto i = a.size(); i-- > 0;) {
            rest = rest << 32 | a[i];
            quotient[i] = static_cast<std::uint32_t>(rest / b[0]);
            rest %= b[0];
        }
        remainder = {static_cast<std::uint32_t>(rest)};
        trim(remainder);
        return quotient;
    }
    unsigned shift = 0;
    while (!(b.back() << shift >> 31)) ++shift;
    const auto shifted = [shift](const Limbs& limbs) {
        Limbs result(limbs.size() + 1);
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < limbs.size(); ++i) {
            carry |= std::uint64_t{limbs[i]} << shift;
            result[i] = static_cast<std::uint32_t>(carry);
            carry >>= 32;
        }
        result.back() = static_cast<std::uint32_t>(carry);
        return result;
    };
    auto rest = shifted(a);
    auto divisor = shifted(b);
    divisor.pop_back();
    const auto size = divisor.size();
    for (auto at = quotient.size(); at-- > 0;) {
        const auto top = std::uint64_t{rest[at + size]} << 32 | rest[at + size - 1];
        auto digit = top / divisor[size - 1];
        auto left = top % divisor[size - 1];
        while (digit >> 32 || digit * divisor[size - 2] > (left << 32 | rest[at + size - 2])) {
            --digit;
            left += divisor[size - 1];
            if (left >> 32) break;
        }
        std::int64_t borrow = 0;
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < size; ++i) {
            carry += digit * divisor[i];
            const auto difference = std::int64_t{rest[at + i]} - static_cast<std::uint32_t>(carry) - borrow;
            carry >>= 32;
            borrow = difference < 0;
            rest[at + i] = static_cast<std::uint32_t>(difference);
        }
        const auto difference = std::int64_t{rest[at + size]} - static_cast<std::int64_t>(carry) - borrow;
        rest[at + size] = static_cast<std::uint32_t>(difference);
        if (difference < 0) {  // the estimate was one too high: give one divisor back
            --digit;
            carry = 0;
            for (std::size_t i = 0; i < size; ++i) {
                carry += std::uint64_t{rest[at + i]} + divisor[i];
                rest[at + i] = static_cast<std::uint32_t>(carry);
                carry >>= 32;
            }
            rest[at + size] += static_cast<std::uint32_t>(carry);
        }
        quotient[at] = static_cast<std::uint32_t>(digit);
    }
    rest.resize(size);
    remainder = BigInt(std::move(rest), false).shifted_right(shift).limbs_;
    return quotient;
}

BigInt BigInt::operator-() const { return {limbs_, !negative_}; }

BigInt operator+(const BigInt& a, const BigInt& b) {
    if (a.negative_ == b.negative_) return {BigInt::add_magnitudes(a.limbs_, b.limbs_), a.negative_};
    if (BigInt::compare_magnitudes(a.limbs_, b.limbs_) >= 0)
        return {BigInt::subtract_magnitudes(a.limbs_, b.limbs_), a.negative_};
    return {BigInt::subtract_magnitudes(b.limbs_, a.limbs_), b.negative_};
}

BigInt operator-(const BigInt& a, const BigInt& b) { return a + -b; }

BigInt operator*(const BigInt& a, const BigInt& b) {
    BigInt::Limbs product(a.limbs_.size() + b.limbs_.size());
    for (std::size_t i = 0; i < a.limbs_.size(); ++i) {
        std::uint64_t carry = 0;
        for (std::size_t j = 0; j < b.limbs_.size(); ++j) {
            carry += std::uint64_t{a.limbs_[i]} * b.limbs_[j] + product[i + j];
            product[i + j] = static_cast<std::uint32_t>(carry);
            carry >>= 32;
        }
        product[i + b.limbs_.size()] = static_cast<std::uint32_t>(carry);
    }
    return {std::move(product), a.negative_ != b.negative_};
}

int compare(const BigInt& a, const BigInt& b) {
    if (a.negative_ != b.negative_) return a.negative_ ? -1 : 1;
    const auto order = BigInt::compare_magnitudes(a.limbs_, b.limbs_);
    return a.negative_ ? -order : order;
}

BigInt floor_divide(const BigInt& a, const BigInt& b) {
    BigInt::Limbs remainder;
    BigInt quotient(BigInt::divide_magnitudes(a.limbs_, b.limbs_, remainder), a.negative_);
    BigInt::trim(remainder);
    return a.negative_ && !remainder.empty() ? quotient - BigInt(1) : quotient;
}

bool BigInt::fits_int64() const {
    return compare(*this, BigInt(INT64_MAX)) <= 0 && compare(*this, BigInt(INT64_MIN)) >= 0;
}

std::int64_t BigInt::to_int64() const {
    std::uint64_t magnitude = 0;
    for (auto i = limbs_.size(); i-- > 0;) magnitude = magnitude << 32 | limbs_[i];
    return static_cast<std::int64_t>(negative_ ? 0 - magnitude : magnitude);
}

double BigInt::mantissa_and_exponent(int& exponent) const {
    double value = 0.0;
    const auto first = limbs_.size() > 4 ? limbs_.size() - 4 : 0;
    for (auto i = limbs_.size(); i-- > first;) value = value * 4294967296.0 + limbs_[i];
    value = std::frexp(negative_ ? -value : value, &exponent);
    exponent += static_cast<int>(32 * first);
    return value;
}

Rational::Rational(BigInt numerator, BigInt denominator)
    : numerator_(std::move(numerator)), denominator_(std::move(denominator)) {
    if (denominator_.is_negative()) {
        numerator_ = -numerator_;
        denominator_ = -denominator_;
    }
    if (numerator_.is_zero()) {
        denominator_ = BigInt(1);
    } else if (const auto common = std::min(numerator_.num_trailing_zeros(), denominator_.num_trailing_zeros())) {
        numerator_ = numerator_.shifted_right(common);
        denominator_ = denominator_.shifted_right(common);
    }
}

Rational Rational::exactly(double value) {
    int exponent = 0;
    const auto mantissa = static_cast<std::int64_t>(std::ldexp(std::frexp(value, &exponent), 53));
    exponent -= 53;
    if (exponent >= 0) return {BigInt(mantissa) * BigInt::power_of_two(static_cast<unsigned>(exponent)), 1};
    return {mantissa, BigInt::power_of_two(static_cast<unsigned>(-exponent))};
}

Rational operator+(const Rational& a, const Rational& b) {
    return {a.numerator_ * b.denominator_ + b.numerator_ * a.denominator_, a.denominator_ * b.denominator_};
}
Rational operator-(const Rational& a, const Rational& b) {
    return {a.numerator_ * b.denominator_ - b.numerator_ * a.denominator_, a.denominator_ * b.denominator_};
}
Rational operator*(const Rational& a, const Rational& b) {
    return {a.numerator_ * b.numerator_, a.denominator_ * b.denominator_};
}
Rational operator/(const Rational& a, const Rational& b) {
    return {a.numerator_ * b.denominator_, a.denominator_ * b.numerator_};
}
int compare(const Rational& a, const Rational& b) {
    return compare(a.numerator_ * b.denominator_, b.numerator_ * a.denominator_);
}

BigInt Rational::floor() const { return floor_divide(numerator_, denominator_); }
BigInt Rational::ceil() const { return -floor_divide(-numerator_, denominator_); }

std::int64_t Rational::round_half_up() const {
    const auto rounded = (*this + Rational(BigInt(1), BigInt(2))).floor();
    if (!rounded.fits_int64()) throw std::overflow_error("a position beyond 64 bits");
    return rounded.to_int64();
}

double Rational::to_double() const {
    int top = 0, bottom = 0;
    const auto numerator = numerator_.mantissa_and_exponent(top);
    const auto denominator = denominator_.mantissa_and_exponent(bottom);
    return std::ldexp(numerator / denominator, top - bottom);
}

}  // namespace sa3
