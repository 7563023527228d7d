// Messages <-> frames: kind | header | body | buffers. The only place that makes or reads bytes; knows no socket.
//
// Reading is tolerant: unknown kinds and fields are ignored, absent optional fields keep their defaults.
// [thread-safe, not audio-thread]
#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "sa3/messages.h"

namespace sa3 {

using Frames = std::vector<std::string>;

/// A message that cannot be read; `what()` says which field and why.
class ProtocolError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The other side speaks another version; `what()` names both.
class VersionMismatch : public ProtocolError {
public:
    using ProtocolError::ProtocolError;
};

/// A decoded message with its header; the raw buffers stay in the frames from the fourth on.
struct Received {
    Header header;
    Message message;
};

/// Return the first three frames of a message; buffers follow them as they are.
Frames encode(const Message& message, const Header& header = {});

/// Read the first three frames; nullopt when the kind is unknown: to be ignored. Throws ProtocolError, VersionMismatch.
std::optional<Received> decode(std::string_view kind, std::string_view header, std::string_view body);

/// Return the kind a message travels under.
const char* kind_of(const Message& message);

}  // namespace sa3
