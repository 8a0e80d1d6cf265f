#include "cli/completion.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/text.h"

namespace hob::cli {
namespace {

bool is_positional(const OptionDescription& option) {
  return !option.names[0].starts_with('-');
}

/// Shell words that print what may stand for this option's value; empty: anything.
std::string source_of(const OptionDescription& option) {
  if (!option.choices.empty()) return fmt::format("echo {}", fmt::join(option.choices, " "));
  const std::string& name = option.names.back();
  if (name == "--host" || name == "HOST") return "remote hosts -o name 2>/dev/null";
  if (name == "JOB" || name == "WHAT") return "remote ps -o name 2>/dev/null";
  return {};
}

/// The first words of verbs, each once ("cell" for "cell init").
std::vector<std::string> first_words(const std::vector<VerbDescription>& verbs) {
  std::vector<std::string> words;
  for (const VerbDescription& verb : verbs) {
    std::string word = verb.name.substr(0, verb.name.find(' '));
    if (words.empty() || words.back() != word) words.push_back(std::move(word));
  }
  return words;
}

std::string second_words(const std::vector<VerbDescription>& verbs) {
  std::string words;
  for (const VerbDescription& verb : verbs)
    if (verb.name.starts_with("cell ")) words += (words.empty() ? "" : " ") + verb.name.substr(5);
  return words;
}

std::string bash(const std::vector<VerbDescription>& verbs) {
  std::string out = fmt::format(R"SH(# bash completion of remote: eval "$(remote completion bash)"
_remote() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}} first=2 i word values= options= words=
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W "{} help --version --help" -- "$cur")); return
  fi
  if [[ $verb == cell ]]; then
    if ((COMP_CWORD == 2)); then COMPREPLY=($(compgen -W "{}" -- "$cur")); return; fi
    verb="cell ${{COMP_WORDS[2]}}" first=3
  fi
  case $verb in
)SH",
                                fmt::join(first_words(verbs), " "), second_words(verbs));
  for (const VerbDescription& verb : verbs) {
    std::string options, values, words, cases;
    for (const OptionDescription& option : verb.options) {
      const std::string source = source_of(option);
      if (is_positional(option)) {
        if (!source.empty()) words += (words.empty() ? "" : "; ") + source;
        continue;
      }
      options += fmt::format("{} ", fmt::join(option.names, " "));
      if (!option.takes_value) continue;
      values += fmt::format("{} ", fmt::join(option.names, " "));
      if (!source.empty())
        cases += fmt::format(
            "      case ${{COMP_WORDS[COMP_CWORD-1]}} in {}) COMPREPLY=($(compgen -W "
            "\"$({})\" -- \"$cur\")); return;; esac\n",
            fmt::join(option.names, "|"), source);
    }
    out += fmt::format("    {})\n      options={} values={} words={}\n{}      ;;\n",
                       quoted(verb.name), quoted(options), quoted(values), quoted(words), cases);
  }
  return out + R"SH(    help) words='echo )SH" +
         fmt::format("{}", fmt::join(first_words(verbs), " ")) + R"SH(' ;;
  esac
  if [[ $verb == run ]]; then
    for ((i = first; i < COMP_CWORD; ++i)); do
      word=${COMP_WORDS[i]}
      if [[ $word == -- ]]; then ((++i)); break; fi
      [[ $word == -* ]] || break
      [[ " $values" == *" $word "* ]] && ((++i))
    done
    if ((i < COMP_CWORD)) || [[ $cur != -* ]]; then
      if declare -F _command_offset >/dev/null; then _command_offset $i
      elif ((i == COMP_CWORD)); then COMPREPLY=($(compgen -c -- "$cur"))
      else COMPREPLY=($(compgen -f -- "$cur")); fi
      return
    fi
  fi
  if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W "$options" -- "$cur"))
  elif [[ -n $words ]]; then COMPREPLY=($(compgen -W "$(eval "$words")" -- "$cur"));
  fi
}
complete -F _remote remote
)SH";
}

/// What _arguments wants between brackets.
std::string zsh_help(std::string_view text) {
  std::string out;
  for (char c : text)
    out += c == '[' || c == ']' || c == ':' ? std::string{'\\', c} : std::string(1, c);
  return out;
}

std::string zsh_value(const OptionDescription& option) {
  const std::string source = source_of(option);
  const std::string what = option.names.back().substr(option.names.back().find_first_not_of('-'));
  return source.empty() ? fmt::format(":{}:", what)
                        : fmt::format(":{}:{{compadd -- $({})}}", what, source);
}

std::string zsh(const std::vector<VerbDescription>& verbs) {
  std::string out =
      "#compdef remote\n# zsh completion of remote: eval \"$(remote completion zsh)\"\n"
      "_remote() {\n  local verb=$words[2]\n  if (( CURRENT == 2 )); then\n    local -a verbs=(\n";
  for (const VerbDescription& verb : verbs)
    if (!verb.name.starts_with("cell "))
      out += "      " + quoted(verb.name + ":" + verb.summary) + "\n";
  out +=
      "      'cell:Make, join and change a cell'\n      'help:Say all about a verb'\n    )\n"
      "    _describe verb verbs; return\n  fi\n"
      "  if [[ $verb == cell ]]; then\n"
      "    if (( CURRENT == 3 )); then compadd " +
      second_words(verbs) +
      "; return; fi\n"
      "    verb=\"cell $words[3]\"; shift words; (( CURRENT-- ))\n  fi\n"
      "  shift words; (( CURRENT-- ))\n  case $verb in\n";
  for (const VerbDescription& verb : verbs) {
    out += fmt::format("    {})\n      _arguments -s -S", quoted(verb.name));
    size_t position = 0;
    for (const OptionDescription& option : verb.options) {
      if (is_positional(option)) {
        const std::string place = verb.name == "kill" ? "*" : std::to_string(++position);
        out += " \\\n        " + quoted(place + zsh_value(option));
        continue;
      }
      for (const std::string& name : option.names)
        out += " \\\n        " +
               quoted(name + (option.takes_value && name.starts_with("--") ? "=" : "") + "[" +
                      zsh_help(option.help) + "]" + (option.takes_value ? zsh_value(option) : ""));
    }
    if (verb.name == "run")
      out += " \\\n        '(-)1:command:_command_names -e' '*::arguments:_normal'";
    out += "\n      ;;\n";
  }
  return out + "  esac\n}\ncompdef _remote remote\n";
}

std::string fish(const std::vector<VerbDescription>& verbs) {
  std::string out =
      "# fish completion of remote: remote completion fish | source\ncomplete -c remote -f\n";
  for (const VerbDescription& verb : verbs) {
    std::string condition = "__fish_seen_subcommand_from " + verb.name;
    if (verb.name.starts_with("cell ")) {
      const std::string second = verb.name.substr(5);
      condition = "__fish_seen_subcommand_from cell; and __fish_seen_subcommand_from " + second;
      out += fmt::format("complete -c remote -n '__fish_seen_subcommand_from cell' -a {} -d {}\n",
                         second, quoted(verb.summary));
    } else {
      out += fmt::format("complete -c remote -n __fish_use_subcommand -a {} -d {}\n", verb.name,
                         quoted(verb.summary));
    }
    for (const OptionDescription& option : verb.options) {
      const std::string source = source_of(option);
      const std::string values = source.empty() ? "" : " -a " + quoted("(" + source + ")");
      out += fmt::format("complete -c remote -n {}", quoted(condition));
      if (is_positional(option)) {
        out += values + "\n";
        continue;
      }
      for (const std::string& name : option.names)
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      if (option.takes_value) out += " -x" + values;
      out += " -d " + quoted(option.help) + "\n";
    }
  }
  return out +
         "complete -c remote -n __fish_use_subcommand -a cell -d 'Make, join and change a cell'\n"
         "complete -c remote -n '__fish_seen_subcommand_from run' -a "
         "'(__fish_complete_subcommand)'\n";
}

}  // namespace

std::string completion(const std::string& shell, const std::vector<VerbDescription>& verbs) {
  return shell == "bash" ? bash(verbs) : shell == "zsh" ? zsh(verbs) : fish(verbs);
}

}  // namespace hob::cli
