# JUCE 8 and the core's libraries from source, for systems without packages of them. Knows nothing of the plugin.
# Run on Linux with local sources and Debian's JUCE in JUCE's place, never with JUCE 8: see README.md.
include(FetchContent)
set(FETCHCONTENT_QUIET OFF)
set(CMAKE_POLICY_VERSION_MINIMUM 3.5)  # what libzmq and json ask for is older than CMake 4 takes
set(CMAKE_POLICY_DEFAULT_CMP0091 NEW)  # they then keep to CMAKE_MSVC_RUNTIME_LIBRARY as we do

set(ENABLE_DRAFTS OFF CACHE BOOL "" FORCE)
set(BUILD_SHARED OFF CACHE BOOL "" FORCE)
set(BUILD_STATIC ON CACHE BOOL "" FORCE)
set(BUILD_TESTS OFF CACHE BOOL "" FORCE)
set(WITH_PERF_TOOL OFF CACHE BOOL "" FORCE)
set(WITH_DOCS OFF CACHE BOOL "" FORCE)
set(ZMQ_BUILD_TESTS OFF CACHE BOOL "" FORCE)
set(ENABLE_CURVE ON CACHE BOOL "" FORCE)
set(WITH_LIBSODIUM OFF CACHE BOOL "" FORCE)  # libzmq then has its own CURVE code
set(CPPZMQ_BUILD_TESTS OFF CACHE BOOL "" FORCE)
set(JSON_BuildTests OFF CACHE BOOL "" FORCE)

FetchContent_Declare(JUCE GIT_REPOSITORY https://github.com/juce-framework/JUCE.git GIT_TAG 8.0.4 GIT_SHALLOW ON)
FetchContent_Declare(libzmq GIT_REPOSITORY https://github.com/zeromq/libzmq.git GIT_TAG v4.3.4 GIT_SHALLOW ON)  # as Debian 12
FetchContent_Declare(zmq_hpp GIT_REPOSITORY https://github.com/zeromq/cppzmq.git GIT_TAG v4.10.0 GIT_SHALLOW ON
                     SOURCE_SUBDIR headers-only)
FetchContent_Declare(msgpack GIT_REPOSITORY https://github.com/msgpack/msgpack-c.git GIT_TAG cpp-6.1.1 GIT_SHALLOW ON
                     SOURCE_SUBDIR headers-only)
FetchContent_Declare(nlohmann_json GIT_REPOSITORY https://github.com/nlohmann/json.git GIT_TAG v3.11.3 GIT_SHALLOW ON)
FetchContent_MakeAvailable(JUCE libzmq zmq_hpp msgpack nlohmann_json)

add_library(cppzmq INTERFACE)
target_include_directories(cppzmq SYSTEM INTERFACE ${zmq_hpp_SOURCE_DIR})
target_link_libraries(cppzmq INTERFACE libzmq-static)
add_library(msgpack-cxx INTERFACE)
target_include_directories(msgpack-cxx SYSTEM INTERFACE ${msgpack_SOURCE_DIR}/include)
