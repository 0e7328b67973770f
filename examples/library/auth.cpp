// Lets only those requests pass that have a certain header: a stream filter in C++.
//
// Its configuration is text, `NAME: VALUE`. Build: c++ -std=c++17 -shared -fPIC -fvisibility=hidden -I sdk/c -o auth_cpp.so auth.cpp
//
// No exception may cross the border: what can throw stands behind `guarded`.
#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "transom.h"

namespace {

const transom_host *host;

struct Config {
  std::string name, value;
};

transom_slice slice(std::string_view text) { return {reinterpret_cast<const uint8_t *>(text.data()), text.size()}; }

std::string_view view(transom_slice slice) { return {reinterpret_cast<const char *>(slice.bytes), slice.len}; }

// What `act` answers; what it throws is told by `tell`, and the answer is `otherwise`.
template <typename T, typename Act, typename Tell>
T guarded(T otherwise, Act act, Tell tell) noexcept {
  try {
    return act();
  } catch (const std::exception &error) {
    tell(error.what());
  } catch (...) {
    tell("something was thrown");
  }
  return otherwise;
}

// The configuration comes as JSON: text is in quotes. Names and values of header fields need no escapes.
std::unique_ptr<Config> parse(std::string_view json) {
  if (json.size() < 2 || json.front() != '"' || json.find('\\') != json.npos)
    throw std::invalid_argument("it is to be text such as `User: admin`");
  json = json.substr(1, json.size() - 2);
  auto colon = json.find(':');
  if (colon == json.npos || colon == 0) throw std::invalid_argument("it has no name and colon; write for example `User: admin`");
  auto value = json.substr(colon + 1);
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return std::make_unique<Config>(Config{std::string(json.substr(0, colon)), std::string(value)});
}

transom_object prepare(transom_handle, transom_slice json, transom_wants *wants, transom_fault *fault) {
  auto refuse = [&](std::string_view why) {
    fault->len = std::min(why.size(), fault->capacity);
    std::memcpy(fault->text, why.data(), fault->len);
  };
  auto make = [&]() -> transom_object {
    auto config = parse(view(json));
    wants->callbacks = 1;  // request headers and nothing else
    return config.release();
  };
  return guarded<transom_object>(nullptr, make, refuse);
}

void release(transom_object config) { delete static_cast<Config *>(config); }

// There is nothing to keep of a stream: its object is the configuration.
transom_object stream_start(transom_object config, transom_handle) { return config; }

int32_t request_headers(transom_object object, transom_handle stream, uint32_t) {
  auto look = [&] {
    auto &config = *static_cast<const Config *>(object);
    transom_slice value;
    for (size_t nth = 0; host->header_get(stream, TRANSOM_REQUEST_HEADERS, slice(config.name), nth, &value) == TRANSOM_OK; nth++)
      if (view(value) == config.value) return 0;
    transom_local_reply reply{};
    reply.size = sizeof reply;
    reply.status = 403;
    reply.grpc_status = -1;
    reply.body = slice("a required header is missing\n");
    reply.details = slice("auth_denied");
    host->send_local_reply(stream, &reply);
    return 1;
  };
  return guarded<int32_t>(0, look, [&](std::string_view why) { host->fail(stream, 500, slice(why)); });
}

const transom_stream_filter filter = [] {
  transom_stream_filter filter{};
  filter.size = sizeof filter;
  filter.prepare = prepare;
  filter.release = release;
  filter.stream_start = stream_start;
  filter.request_headers = request_headers;
  return filter;
}();

}  // namespace

extern "C" __attribute__((visibility("default"))) const transom_library *transom_library_entry(const transom_host *given) {
  static const transom_extension extension = {TRANSOM_STREAM_FILTER, 0, {}, &filter};
  static const transom_library library = [] {
    transom_library library{};
    library.magic = TRANSOM_MAGIC;
    library.size = sizeof library;
    library.major = TRANSOM_MAJOR;
    library.minor = TRANSOM_MINOR;
    library.name = slice("auth");
    library.version = slice("1.0.0");
    library.made_with = slice("C++");
    library.extensions = &extension;
    library.extension_count = 1;
    library.extension_size = sizeof extension;
    return library;
  }();
  host = given;
  return &library;
}
