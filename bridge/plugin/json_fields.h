// Structs with a `fields` listing <-> JSON values of JUCE. Knows no struct by name; bad values leave the default.
#pragma once

#include <juce_core/juce_core.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sa3::plugin {

template <class Fields>
juce::var to_json(const Fields& fields);

class JsonWriter {
public:
    explicit JsonWriter(juce::DynamicObject& object) : object_(object) {}

    template <class Value>
    void required(const char* name, const Value& value) {
        object_.setProperty(name, write(value));
    }
    template <class Value>
    void optional(const char* name, const Value& value) {
        required(name, value);
    }

private:
    static juce::var write(bool value) { return value; }
    static juce::var write(std::int64_t value) { return static_cast<juce::int64>(value); }
    static juce::var write(double value) { return value; }
    static juce::var write(const std::string& value) { return juce::String::fromUTF8(value.c_str()); }
    template <class Item>
    static juce::var write(const std::optional<Item>& value) {
        return value ? write(*value) : juce::var();
    }
    template <class Item>
    static juce::var write(const std::vector<Item>& items) {
        juce::Array<juce::var> array;
        for (const auto& item : items) array.add(write(item));
        return array;
    }
    template <class Struct>
    static juce::var write(const Struct& value) {
        return to_json(value);
    }

    juce::DynamicObject& object_;
};

template <class Fields>
juce::var to_json(const Fields& fields) {
    auto* object = new juce::DynamicObject;
    juce::var result(object);
    JsonWriter writer(*object);
    Fields::fields(fields, writer);
    return result;
}

class JsonReader {
public:
    explicit JsonReader(const juce::var& object) : object_(object) {}

    template <class Value>
    void required(const char* name, Value& value) {
        const auto& found = object_[juce::Identifier(name)];
        if (!found.isVoid() && !found.isUndefined()) read(found, value);
    }
    template <class Value>
    void optional(const char* name, Value& value) {
        required(name, value);
    }

private:
    static bool is_number(const juce::var& from) { return from.isInt() || from.isInt64() || from.isDouble(); }
    static void read(const juce::var& from, bool& to) {
        if (from.isBool()) to = static_cast<bool>(from);
    }
    static void read(const juce::var& from, std::int64_t& to) {
        if (from.isInt() || from.isInt64()) to = static_cast<juce::int64>(from);
    }
    static void read(const juce::var& from, double& to) {
        if (is_number(from) && std::isfinite(static_cast<double>(from))) to = static_cast<double>(from);
    }
    static void read(const juce::var& from, std::string& to) {
        if (from.isString()) to = from.toString().toStdString();
    }
    template <class Item>
    static void read(const juce::var& from, std::optional<Item>& to) {
        read(from, to.emplace());
    }
    template <class Item>
    static void read(const juce::var& from, std::vector<Item>& to) {
        to.clear();
        if (const auto* array = from.getArray())
            for (const auto& item : *array) read(item, to.emplace_back());
    }
    template <class Struct>
    static void read(const juce::var& from, Struct& to) {
        JsonReader reader(from);
        Struct::fields(to, reader);
    }

    const juce::var& object_;
};

/// Overwrite what the JSON object has of the struct's fields, in the right type.
template <class Fields>
void from_json(const juce::var& object, Fields& fields) {
    JsonReader reader(object);
    Fields::fields(fields, reader);
}

}  // namespace sa3::plugin
