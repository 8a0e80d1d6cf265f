#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/log.h"
#include "config/config.h"
#include "config/toml_reader.h"

/// The tables that bind the keys of a TOML file to the members of a struct: of the daemons' files
/// inside config/, of a build's in pmake/rules.cc.
namespace hob::keys {

/// One key of a config file of type C.
template <class C>
struct Key {
  std::string name;
  /// Stores the entry's value; the Error says what form was expected, without place and name.
  std::function<Result<void>(const TomlEntry&, C&)> set;
  /// The value as it is written in TOML.
  std::function<std::string(const C&)> show;
};

/// The TOML forms of one type, both ways: what a Key is made of. `least` and `most` bound numbers.
Result<bool> to_bool(const TomlEntry& entry);
Result<int64_t> to_integer(const TomlEntry& entry, int64_t least, int64_t most);
Result<std::string> to_text(const TomlEntry& entry);
Result<std::vector<std::string>> to_texts(const TomlEntry& entry);
Result<std::array<double, 3>> to_marks(const TomlEntry& entry);
Result<Duration> to_duration(const TomlEntry& entry, Duration least, Duration most);
Result<uint64_t> to_size(const TomlEntry& entry);
Result<Hours> to_hours(const TomlEntry& entry);
Result<HostList> to_host_list(const TomlEntry& entry);
Result<log::Level> to_level(const TomlEntry& entry);
Result<std::string> to_path(const TomlEntry& entry);
Result<std::string> to_endpoint(const TomlEntry& entry, uint16_t default_port);
Result<std::string> to_public_key(const TomlEntry& entry);

std::string show(bool value);
std::string show(uint16_t value);
std::string show(uint32_t value);
std::string show(uint64_t value);
std::string show(const std::string& text);
std::string show(const std::vector<std::string>& texts);
std::string show(const std::array<double, 3>& marks);
std::string show(Duration duration);
std::string show(const Hours& hours);
std::string show(const HostList& list);
std::string show(log::Level level);
std::string show_size(uint64_t bytes);

/// A key whose value is `member`, read by `read` (one of the functions above, bounds bound).
template <class C, class M, class Read>
Key<C> key(std::string name, M C::*member, Read read) {
  return {std::move(name),
          [member, read](const TomlEntry& entry, C& config) -> Result<void> {
            config.*member = TRY(read(entry));
            return {};
          },
          [member](const C& config) { return show(config.*member); }};
}

/// The known key nearest to `name` by edit distance, if one is near enough to be meant; else "".
std::string nearest(const std::string& name, std::span<const std::string> known);

/// Stores each entry in `config` by its key. The Error of an unknown key names the one that may
/// have been meant, else it ends with `all_keys`: where they are listed.
template <class C>
Result<void> apply(std::span<const TomlEntry> entries, const std::vector<Key<C>>& table, C& config,
                   std::string_view all_keys) {
  for (const TomlEntry& entry : entries) {
    const auto key = std::find_if(table.begin(), table.end(),
                                  [&](const Key<C>& k) { return k.name == entry.key; });
    if (key == table.end()) {
      std::vector<std::string> names;
      for (const Key<C>& k : table) names.push_back(k.name);
      const std::string meant = nearest(entry.key, names);
      return Error{entry.where() + ": unknown key '" + entry.key + "'; " +
                   (meant.empty() ? std::string(all_keys) : "did you mean '" + meant + "'?")};
    }
    if (Result<void> done = key->set(entry, config); !done.ok())
      return std::move(done).error().in(entry.where() + ": " + entry.key);
  }
  return {};
}

std::vector<Key<HostdConfig>> hostd();
std::vector<Key<CoordinatorConfig>> coordinator();

}  // namespace hob::keys
