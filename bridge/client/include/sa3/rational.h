// Exact fractions of any size, as far as tempo arithmetic needs them. Knows no music.
//
// [thread-safe, not audio-thread]: allocates.
#pragma once

#include <cstdint>
#include <vector>

namespace sa3 {

/// A whole number of any size: sign and magnitude, 32 bits a limb, least first, no leading zero limbs.
class BigInt {
public:
    BigInt() = default;
    BigInt(std::int64_t value);  // NOLINT: whole numbers convert
    static BigInt power_of_two(unsigned exponent);

    bool is_zero() const { return limbs_.empty(); }
    bool is_negative() const { return negative_; }
    unsigned num_trailing_zeros() const;            // 0 for 0
    BigInt shifted_right(unsigned num_bits) const;  // of the magnitude

    BigInt operator-() const;
    friend BigInt operator+(const BigInt& a, const BigInt& b);
    friend BigInt operator-(const BigInt& a, const BigInt& b);
    friend BigInt operator*(const BigInt& a, const BigInt& b);
    friend int compare(const BigInt& a, const BigInt& b);
    /// The largest whole number not above a / b, for b > 0.
    friend BigInt floor_divide(const BigInt& a, const BigInt& b);

    bool fits_int64() const;
    std::int64_t to_int64() const;  // only where fits_int64
    /// value = mantissa * 2^exponent with |mantissa| in [0.5, 1): for conversion to double.
    double mantissa_and_exponent(int& exponent) const;

private:
    using Limbs = std::vector<std::uint32_t>;
    static int compare_magnitudes(const Limbs& a, const Limbs& b);
    static Limbs add_magnitudes(const Limbs& a, const Limbs& b);
    static Limbs subtract_magnitudes(const Limbs& a, const Limbs& b);  // a >= b
    static Limbs divide_magnitudes(const Limbs& a, const Limbs& b, Limbs& remainder);
    static void trim(Limbs& limbs);
    BigInt(Limbs limbs, bool negative);

    Limbs limbs_;
    bool negative_ = false;
};

/// numerator / denominator, the denominator above 0. Common factors of two are cancelled, others are not.
class Rational {
public:
    Rational() : denominator_(1) {}
    Rational(std::int64_t value) : numerator_(value), denominator_(1) {}  // NOLINT: whole numbers convert
    Rational(BigInt numerator, BigInt denominator);
    /// The exact binary value of a finite double.
    static Rational exactly(double value);

    friend Rational operator+(const Rational& a, const Rational& b);
    friend Rational operator-(const Rational& a, const Rational& b);
    friend Rational operator*(const Rational& a, const Rational& b);
    friend Rational operator/(const Rational& a, const Rational& b);  // b not 0
    friend bool operator<(const Rational& a, const Rational& b) { return compare(a, b) < 0; }
    friend bool operator<=(const Rational& a, const Rational& b) { return compare(a, b) <= 0; }
    friend bool operator==(const Rational& a, const Rational& b) { return compare(a, b) == 0; }
    friend int compare(const Rational& a, const Rational& b);

    BigInt floor() const;
    BigInt ceil() const;
    /// To the nearest whole number, halves up, at any sign. Throws std::overflow_error beyond 64 bits.
    std::int64_t round_half_up() const;
    double to_double() const;

private:
    BigInt numerator_, denominator_;
};

}  // namespace sa3
