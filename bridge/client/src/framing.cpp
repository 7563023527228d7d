// Structs <-> msgpack, field by field as each struct lists them. Knows no socket.
#include "sa3/framing.h"

#include <array>
#include <cstring>
#include <msgpack.hpp>
#include <type_traits>
#include <utility>

namespace sa3 {
namespace {

/// msgpack's packer, but for floats: it would shorten whole ones to integers, and the protocol sends float64.
struct Packer : msgpack::packer<msgpack::sbuffer> {
    msgpack::sbuffer& buffer;

    explicit Packer(msgpack::sbuffer& into) : msgpack::packer<msgpack::sbuffer>(into), buffer(into) {}

    void pack_float64(double value) {
        std::uint64_t bits = 0;
        std::memcpy(&bits, &value, sizeof bits);
        char bytes[9] = {'\xcb'};
        for (int i = 0; i < 8; ++i) bytes[1 + i] = static_cast<char>(bits >> (56 - 8 * i));
        buffer.write(bytes, sizeof bytes);
    }
};

// --- writing -------------------------------------------------------------------------------------------------

template <class Struct>
void pack_value(Packer& packer, const Struct& value);

void pack_value(Packer& packer, std::int64_t value) { packer.pack_int64(value); }
void pack_value(Packer& packer, double value) { packer.pack_float64(value); }
void pack_value(Packer& packer, bool value) { value ? packer.pack_true() : packer.pack_false(); }
void pack_value(Packer& packer, const std::string& value) {
    packer.pack_str(static_cast<std::uint32_t>(value.size()));
    packer.pack_str_body(value.data(), static_cast<std::uint32_t>(value.size()));
}
void pack_value(Packer& packer, const NamedSeconds& value) {
    packer.pack_map(static_cast<std::uint32_t>(value.size()));
    for (const auto& [key, number] : value) {
        pack_value(packer, key);
        pack_value(packer, number);
    }
}
template <class Item>
void pack_value(Packer& packer, const std::optional<Item>& value) {
    if (value)
        pack_value(packer, *value);
    else
        packer.pack_nil();
}
template <class Item>
void pack_value(Packer& packer, const std::vector<Item>& value) {
    packer.pack_array(static_cast<std::uint32_t>(value.size()));
    for (const auto& item : value) pack_value(packer, item);
}

struct FieldCounter {
    std::uint32_t num_fields = 0;
    template <class Value>
    void required(const char*, const Value&) {
        ++num_fields;
    }
    template <class Value>
    void optional(const char*, const Value&) {
        ++num_fields;
    }
};

struct FieldPacker {
    Packer& packer;
    template <class Value>
    void required(const char* name, const Value& value) {
        pack_value(packer, std::string(name));
        pack_value(packer, value);
    }
    template <class Value>
    void optional(const char* name, const Value& value) {
        required(name, value);
    }
};

template <class Struct>
void pack_value(Packer& packer, const Struct& value) {
    FieldCounter count;
    Struct::fields(value, count);
    packer.pack_map(count.num_fields);
    FieldPacker fields{packer};
    Struct::fields(value, fields);
}

std::string packed_header(const Header& header) {
    msgpack::sbuffer buffer;
    Packer packer(buffer);
    packer.pack_map(header.credit ? 4 : 3);
    FieldPacker fields{packer};
    fields.required("v", header.v);
    fields.required("job", header.job);
    fields.required("seq", header.seq);
    if (header.credit) fields.required("credit", header.credit);
    return {buffer.data(), buffer.size()};
}

// --- reading -------------------------------------------------------------------------------------------------

[[noreturn]] void complain(const std::string& path, const char* wanted) {
    throw ProtocolError(path + " is not " + wanted);
}

template <class Struct>
void read_value(const msgpack::object& from, Struct& to, const std::string& path);

void read_value(const msgpack::object& from, std::int64_t& to, const std::string& path) {
    if (from.type == msgpack::type::POSITIVE_INTEGER && from.via.u64 <= INT64_MAX)
        to = static_cast<std::int64_t>(from.via.u64);
    else if (from.type == msgpack::type::NEGATIVE_INTEGER)
        to = from.via.i64;
    else
        complain(path, "a whole number of 64 bits");
}
void read_value(const msgpack::object& from, double& to, const std::string& path) {
    if (from.type == msgpack::type::FLOAT32 || from.type == msgpack::type::FLOAT64)
        to = from.via.f64;
    else if (from.type == msgpack::type::POSITIVE_INTEGER)
        to = static_cast<double>(from.via.u64);
    else if (from.type == msgpack::type::NEGATIVE_INTEGER)
        to = static_cast<double>(from.via.i64);
    else
        complain(path, "a number");
}
void read_value(const msgpack::object& from, bool& to, const std::string& path) {
    if (from.type != msgpack::type::BOOLEAN) complain(path, "true or false");
    to = from.via.boolean;
}
void read_value(const msgpack::object& from, std::string& to, const std::string& path) {
    if (from.type != msgpack::type::STR) complain(path, "a text");
    to.assign(from.via.str.ptr, from.via.str.size);
}
void read_value(const msgpack::object& from, NamedSeconds& to, const std::string& path) {
    if (from.type != msgpack::type::MAP) complain(path, "a map");
    to.clear();
    for (std::uint32_t i = 0; i < from.via.map.size; ++i) {
        std::string key;
        read_value(from.via.map.ptr[i].key, key, path + "'s key");
        auto& [name, seconds] = to.emplace_back(std::move(key), 0.0);
        read_value(from.via.map.ptr[i].val, seconds, path + "." + name);
    }
}
template <class Item>
void read_value(const msgpack::object& from, std::optional<Item>& to, const std::string& path) {
    to.reset();
    if (from.type != msgpack::type::NIL) read_value(from, to.emplace(), path);
}
template <class Item>
void read_value(const msgpack::object& from, std::vector<Item>& to, const std::string& path) {
    if (from.type != msgpack::type::ARRAY) complain(path, "a list");
    to.assign(from.via.array.size, Item{});
    for (std::uint32_t i = 0; i < from.via.array.size; ++i)
        read_value(from.via.array.ptr[i], to[i], path + "[" + std::to_string(i) + "]");
}

const msgpack::object* find(const msgpack::object& map, std::string_view name) {
    for (std::uint32_t i = 0; i < map.via.map.size; ++i) {
        const auto& [key, value] = map.via.map.ptr[i];
        if (key.type == msgpack::type::STR && name == std::string_view(key.via.str.ptr, key.via.str.size))
            return &map.via.map.ptr[i].val;
    }
    return nullptr;
}

struct FieldReader {
    const msgpack::object& map;
    const std::string& path;

    template <class Value>
    void required(const char* name, Value& value) {
        const auto* found = find(map, name);
        if (!found) throw ProtocolError(path + " lacks " + name);
        read_value(*found, value, path + "." + name);
    }
    template <class Value>
    void optional(const char* name, Value& value) {
        if (const auto* found = find(map, name)) read_value(*found, value, path + "." + name);
    }
};

template <class Struct>
void read_value(const msgpack::object& from, Struct& to, const std::string& path) {
    if (from.type != msgpack::type::MAP) complain(path, "a map");
    FieldReader fields{from, path};
    Struct::fields(to, fields);
}

msgpack::object_handle unpack(std::string_view frame, const char* what) {
    try {
        std::size_t offset = 0;
        // Bounds what a broken peer can make us reserve or recurse into.
        const msgpack::unpack_limit limit(1 << 20, 1 << 16, 1 << 24, 1 << 24, 1 << 24, 32);
        auto handle = msgpack::unpack(frame.data(), frame.size(), offset, nullptr, nullptr, limit);
        if (offset != frame.size()) throw ProtocolError(std::string("the ") + what + " frame has bytes to spare");
        return handle;
    } catch (const msgpack::unpack_error& error) {
        throw ProtocolError(std::string("the ") + what + " frame is not msgpack: " + error.what());
    }
}

template <class Struct>
Message read_body(const msgpack::object& body) {
    Struct message;
    read_value(body, message, "body");
    return message;
}

template <std::size_t... Index>
constexpr auto body_readers(std::index_sequence<Index...>) {
    using Reader = Message (*)(const msgpack::object&);
    return std::array<Reader, sizeof...(Index)>{&read_body<std::variant_alternative_t<Index, Message>>...};
}

constexpr auto kBodyReaders = body_readers(std::make_index_sequence<std::variant_size_v<Message>>{});

}  // namespace

const char* kind_of(const Message& message) { return kKinds[message.index()]; }

Frames encode(const Message& message, const Header& header) {
    msgpack::sbuffer body;
    Packer packer(body);
    std::visit([&](const auto& alternative) { pack_value(packer, alternative); }, message);
    return {kind_of(message), packed_header(header), std::string(body.data(), body.size())};
}

std::optional<Received> decode(std::string_view kind, std::string_view header_frame, std::string_view body_frame) {
    std::size_t index = 0;
    while (index < std::size(kKinds) && kind != kKinds[index]) ++index;
    if (index == std::size(kKinds)) return std::nullopt;
    const auto header_handle = unpack(header_frame, "header");
    Header header;
    read_value(header_handle.get(), header, "header");
    if (header.v != kProtocolVersion)
        throw VersionMismatch("the daemon speaks protocol version " + std::to_string(header.v) +
                              ", this program version " + std::to_string(kProtocolVersion));
    return Received{std::move(header), kBodyReaders[index](unpack(body_frame, "body").get())};
}

}  // namespace sa3
