#include "config/toml_reader.h"

#include <toml++/toml.h>

#include <algorithm>
#include <optional>

namespace hob {
namespace {

Error at_node(const toml::node& node, const std::string& file, const std::string& text) {
  return Error{file + ":" + std::to_string(node.source().begin.line) + ": " + text};
}

std::optional<double> as_number(const toml::node& node) {
  if (const auto* integer = node.as_integer()) return static_cast<double>(integer->get());
  if (const auto* real = node.as_floating_point()) return real->get();
  return std::nullopt;
}

std::optional<TomlEntry::Value> read_array(const toml::array& array) {
  TomlEntry::Texts texts;
  TomlEntry::Numbers numbers;
  for (const toml::node& element : array) {
    if (const auto* text = element.as_string())
      texts.push_back(text->get());
    else if (const std::optional<double> number = as_number(element))
      numbers.push_back(*number);
    else
      return std::nullopt;
  }
  if (!texts.empty() && !numbers.empty()) return std::nullopt;
  if (!numbers.empty()) return numbers;
  return texts;
}

std::optional<TomlEntry::Value> read_value(const toml::node& node) {
  if (const auto* boolean = node.as_boolean()) return boolean->get();
  if (const auto* integer = node.as_integer()) return integer->get();
  if (const auto* real = node.as_floating_point()) return real->get();
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* array = node.as_array()) return read_array(*array);
  return std::nullopt;
}

Result<void> flatten(const toml::table& table, const std::string& prefix, const std::string& file,
                     std::vector<TomlEntry>& entries) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (const toml::table* inner = node.as_table()) {
      TRY(flatten(*inner, key + ".", file, entries));
      continue;
    }
    std::optional<TomlEntry::Value> value = read_value(node);
    if (!value)
      return at_node(node, file,
                     "'" + key +
                         "' has a kind of value that no key takes; write a text, a number, "
                         "true or false, or a list of texts or of numbers");
    entries.push_back({key, std::move(*value), file, node.source().begin.line});
  }
  return {};
}

}  // namespace

Result<std::vector<TomlEntry>> parse_toml(std::string_view text, const std::string& file) {
  std::vector<TomlEntry> entries;
  try {
    TRY(flatten(toml::parse(text, std::string_view(file)), "", file, entries));
  } catch (const toml::parse_error& error) {
    return Error{file + ":" + std::to_string(error.source().begin.line) +
                 ": not TOML: " + std::string(error.description())};
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const TomlEntry& a, const TomlEntry& b) { return a.line < b.line; });
  return entries;
}

}  // namespace hob
