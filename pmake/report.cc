// pmake/timeline.h: a build as one HTML page. All that is seen is made by the page itself
// (report.html and the files named after it) from the data that is put into it here.
#include <map>

#include "base/json.h"
#include "pmake/report.css.h"
#include "pmake/report.html.h"
#include "pmake/report_data.js.h"
#include "pmake/report_pointer.js.h"
#include "pmake/report_tables.js.h"
#include "pmake/report_timeline.js.h"
#include "pmake/timeline.h"

namespace hob::pmake {
namespace {

/// Text as it may stand in an element.
std::string html(std::string_view bytes) {
  std::string out;
  for (const char c : valid_utf8(bytes)) switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\0':
        out += "\xef\xbf\xbd";
        break;  // HTML has no such character
      default:
        out += c;
    }
  return out;
}

/// JSON as it may stand in a <script>: no "</script>" and no "<!--" ends it early. Outside of
/// strings JSON has no '<'.
std::string for_script(std::string_view json) {
  std::string out;
  for (const char c : json) {
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  }
  return out;
}

uint64_t to_microseconds(Duration d) {
  return static_cast<uint64_t>(std::max<int64_t>(0, d.count()) / 1000);
}

/// An element of an array.
void add(JsonWriter& json, std::string_view bytes) {
  json.member("", valid_utf8(bytes));
}

/// Short names, for a build may have many thousands of recipes; report_data.js names them (`read`).
std::string data_of(const Timeline& timeline, Duration wall) {
  const std::vector<std::string> hosts = hosts_of(timeline);
  std::map<std::string, uint64_t> index;
  for (const std::string& host : hosts) index.emplace(host, index.size());

  JsonWriter json;
  json.member("wall", to_microseconds(wall)).member("cheap", timeline.cheap());
  json.array("hosts");
  for (const std::string& host : hosts) add(json, host);
  json.end().array("recipes");
  for (const RecipeRun& recipe : timeline.recipes()) {
    json.object().member("t", valid_utf8(recipe.target)).member("c", valid_utf8(recipe.command));
    if (!recipe.why_home.empty()) json.member("w", valid_utf8(recipe.why_home));
    if (!recipe.ended()) json.member("u", true);
    json.array("s");
    for (const Stay& stay : recipe.stays) {
      json.object()
          .member("h", index.at(stay.host))
          .member("l", stay.slot)
          .member("k", to_string(kind_of(timeline, recipe, stay)))
          .member("f", to_microseconds(stay.from))
          .member("e", to_microseconds(stay.from + stay.length(wall)));
      if (!stay.why.empty()) json.member("w", valid_utf8(stay.why));
      json.end();
    }
    json.end().end();
  }
  return std::move(json).document();
}

/// `page` with what stands for {{NAME}} in it. What is put in is not searched again.
std::string fill(std::string_view page, const std::map<std::string_view, std::string>& values) {
  std::string out;
  for (size_t open; (open = page.find("{{")) != std::string_view::npos;) {
    const size_t close = page.find("}}", open);
    if (close == std::string_view::npos) break;
    const auto value = values.find(page.substr(open + 2, close - open - 2));
    out += page.substr(0, value == values.end() ? open + 2 : open);
    if (value != values.end()) out += value->second;
    page.remove_prefix(value == values.end() ? open + 2 : close + 2);
  }
  return out.append(page);
}

}  // namespace

std::string html_report(const Timeline& timeline, Duration wall, const std::string& title) {
  return fill(embedded::report_html,
              {{"title", html(title)},
               {"summary", html(to_string(summarise(timeline, wall)))},
               {"data", for_script(data_of(timeline, wall))},
               {"style", std::string(embedded::report_css)},
               {"data_script", std::string(embedded::report_data_js)},
               {"timeline_script", std::string(embedded::report_timeline_js)},
               {"pointer_script", std::string(embedded::report_pointer_js)},
               {"tables_script", std::string(embedded::report_tables_js)}});
}

}  // namespace hob::pmake
