#include "cli/grammar.h"

#include <csignal>
#include <cstdlib>

#include "cli/completion.h"
#include "rig.h"
//
#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

using namespace hob;
using namespace hob::cli;

namespace {

Command parse_words(const std::vector<std::string>& words) {
  std::vector<const char*> pointers;
  for (const std::string& word : words) pointers.push_back(word.c_str());
  return parse(pointers);
}

template <class T>
T parsed(const std::vector<std::string>& words) {
  Command command = parse_words(words);
  if (const auto* text = std::get_if<Say>(&command)) FAIL(text->text);
  return std::get<T>(std::move(command));
}

Say said(const std::vector<std::string>& words) {
  Command command = parse_words(words);
  REQUIRE(std::holds_alternative<Say>(command));
  return std::get<Say>(std::move(command));
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("the command begins at the first word that is no option of ours") {
  const struct {
    Words words;
    Words command;
    std::string host;
    bool quiet;
  } cases[] = {
      {{"ls"}, {"ls"}, "", false},
      {{"ls", "-l", "-q", "--host", "x", "--help"},
       {"ls", "-l", "-q", "--host", "x", "--help"},
       "",
       false},
      {{"-q", "ls", "-q"}, {"ls", "-q"}, "", true},
      {{"-H", "h1", "ls"}, {"ls"}, "h1", false},
      {{"-Hh1", "ls"}, {"ls"}, "h1", false},
      {{"-qH", "h1", "ls"}, {"ls"}, "h1", true},
      {{"-qHh1", "ls"}, {"ls"}, "h1", true},
      {{"--host", "h1", "-q", "ls"}, {"ls"}, "h1", true},
      {{"--host=h1", "ls", "--host=h2"}, {"ls", "--host=h2"}, "h1", false},
      {{"--", "-q"}, {"-q"}, "", false},
      {{"-q", "--", "--", "x"}, {"--", "x"}, "", true},
      {{"--", "ls", "--", "x"}, {"ls", "--", "x"}, "", false},
      {{"-", "-q"}, {"-", "-q"}, "", false},
      {{"[a,b]", "[c,d]", "", "a=b", "%%", "'"},
       {"[a,b]", "[c,d]", "", "a=b", "%%", "'"},
       "",
       false},
      {{"run", "ls"}, {"run", "ls"}, "", false},
      {{"\xff\xfe", "\n"}, {"\xff\xfe", "\n"}, "", false},
  };
  for (const auto& c : cases) {
    Words words{"run"};
    words.insert(words.end(), c.words.begin(), c.words.end());
    const auto options = parsed<RunOptions>(words);
    CHECK(options.command == c.command);
    CHECK(options.host == c.host);
    CHECK(options.quiet == c.quiet);
  }
}

TEST_CASE("whatever words a command has, it gets them byte for byte") {
  rc::prop("after --", [](const std::vector<std::string>& raw) {
    Words words;
    for (const std::string& word : raw)
      words.push_back(word.c_str());  // up to a NUL, as exec passes
    if (words.empty() || words[0].empty()) words.insert(words.begin(), "x");
    Words all{"run", "-q", "--"};
    all.insert(all.end(), words.begin(), words.end());
    const Command command = parse_words(all);
    const auto* options = std::get_if<RunOptions>(&command);
    RC_ASSERT(options != nullptr);
    RC_ASSERT(options->command == words);
    RC_ASSERT(options->quiet);
  });
}

TEST_CASE("run's options") {
  ::setenv("HOB_TEST_SET", "value", 1);
  ::unsetenv("HOB_TEST_UNSET");
  const auto o = parsed<RunOptions>(
      {"run",          "--no-wait", "--or-local",     "--keep",    "-t",   "-n",      "-q",
       "-v",           "-e",        "A=[x,y]",        "--env",     "B=",   "-eC=1=2", "-e",
       "HOB_TEST_SET", "-e",        "HOB_TEST_UNSET", "--timeout", "1.5m", "cmd"});
  CHECK((o.no_wait && o.or_local && o.keep && o.terminal && o.no_input && o.quiet && o.verbose));
  CHECK_FALSE(o.local);
  CHECK(o.environment == Words{"A=[x,y]", "B=", "C=1=2", "HOB_TEST_SET=value"});
  CHECK(o.time_limit == seconds(90));
  CHECK(o.command == Words{"cmd"});
}

TEST_CASE("run takes its host and --local from the environment, options first") {
  ::setenv("REMOTE_HOST", "h7", 1);
  CHECK(parsed<RunOptions>({"run", "ls"}).host == "h7");
  CHECK(parsed<RunOptions>({"run", "-H", "h1", "ls"}).host == "h1");
  ::unsetenv("REMOTE_HOST");
  ::setenv("REMOTE_LOCAL", "1", 1);
  CHECK(parsed<RunOptions>({"run", "ls"}).local);
  ::unsetenv("REMOTE_LOCAL");
  CHECK_FALSE(parsed<RunOptions>({"run", "ls"}).local);
}

TEST_CASE("wrong usage is one line that points to the help; 125 for run, 2 for the rest") {
  const std::pair<Words, int> cases[] = {
      {{"run"}, 125},
      {{"run", "--"}, 125},
      {{"run", "--hosst=h1", "ls"}, 125},
      {{"run", "-Z", "ls"}, 125},
      {{"run", "-H=h1", "ls"}, 125},
      {{"run", "-H"}, 125},
      {{"run", "--timeout", "soon", "ls"}, 125},
      {{"run", "--timeout", "-1", "ls"}, 125},
      {{"run", "-e", "=x", "ls"}, 125},
      {{"run", "--local", "-H", "h1", "ls"}, 125},
      {{"hosts", "extra"}, 2},
      {{"hosts", "-o", "xml"}, 2},
      {{"ps", "--watch=never"}, 2},
      {{"kill"}, 2},
      {{"kill", "-s", "NOSUCH", "j1"}, 2},
      {{"kill", "-s", "0", "j1"}, 2},
      {{"migrate"}, 2},
      {{"migrate", "j1", "h/1"}, 2},
      {{"history"}, 2},
      {{"pause", "forever"}, 2},
      {{"completion", "tcsh"}, 2},
      {{"cell"}, 2},
      {{"cell", "leave"}, 2},
      {{"cell", "join"}, 2},
      {{"cell", "init", "--port", "70000"}, 2},
      {{"nonsense"}, 2},
      {{"--nonsense"}, 2},
      {{"help", "nonsense"}, 2},
      {{"help", "run", "more"}, 2},
      {{"--json", "ps"}, 2},
      {{"cell", "invite", "--name", ".x"}, 2},
      {{"cell", "init", "--address", "a b"}, 2},
  };
  for (const auto& [words, status] : cases) {
    const Say say = said(words);
    CAPTURE(words, say.text);
    CHECK(say.status == status);
    CHECK(say.text.starts_with("remote: "));
    CHECK(say.text.find("see `remote help") != std::string::npos);
    CHECK(std::count(say.text.begin(), say.text.end(), '\n') == 1);
  }
  CHECK(said({}).status == 2);
}

TEST_CASE("wrong usage names what is wrong") {
  CHECK(said({"--json", "ps"}).text ==
        "remote: '--json' stands before the verb; options come after it, as in `remote ps --json`; "
        "see "
        "`remote help`\n");
  CHECK(said({"help", "run", "more"}).text ==
        "remote: help: the word 'more' is one too many; see `remote help`\n");
  CHECK(said({"hosts", "more"}).text ==
        "remote: hosts: the word 'more' is one too many; see `remote help hosts`\n");
  CHECK(said({"hosts", "--more"}).text ==
        "remote: hosts: it has no option '--more'; see `remote help hosts`\n");
  CHECK(said({"run", "-H"}).text == "remote: run: --host needs a value; see `remote help run`\n");
  CHECK(said({"pause", "soon"}).text ==
        "remote: pause: TIME: 'soon' is no time such as 90, 1.5s, 10m or 2h; see `remote help "
        "pause`\n");
  CHECK(said({"cell"}).text ==
        "remote: 'cell' needs init, invite, invitations, join or remove; see `remote help`\n");
  CHECK(said({"cell", "--help"}).status == 0);
  ::setenv("REMOTE_HOST", "a b", 1);
  CHECK(said({"run", "ls"}).text.find("$REMOTE_HOST: 'a b' is no name of a host") !=
        std::string::npos);
  CHECK(parsed<RunOptions>({"run", "-H", "h1", "ls"}).host == "h1");
  ::unsetenv("REMOTE_HOST");
}

TEST_CASE("an empty command is no such program") {
  CHECK(said({"run", ""}).status == 127);
  CHECK(said({"run", ""}).text ==
        "remote: run '': No such file or directory; the command's name is empty\n");
}

TEST_CASE("the other verbs' options") {
  CHECK(parsed<HostsOptions>({"hosts", "--why"}).why);
  CHECK(parsed<HostsOptions>({"hosts", "--json"}).output.format == Output::Format::json);
  CHECK(parsed<HostsOptions>({"hosts", "-o", "wide", "--no-headers"}).output.format ==
        Output::Format::wide);
  CHECK_FALSE(parsed<HostsOptions>({"hosts", "--no-headers"}).output.headers);
  CHECK_FALSE(parsed<HostsOptions>({"hosts"}).output.watch);
  CHECK(parsed<HostsOptions>({"hosts", "--watch"}).output.watch == seconds(2));
  CHECK(parsed<HostsOptions>({"hosts", "--watch=0.5"}).output.watch == milliseconds(500));
  CHECK(parsed<HostsOptions>({"hosts", "--watch", "--why"}).output.watch == seconds(2));
  CHECK(parsed<PsOptions>({"ps", "-a"}).all_hosts);
  CHECK(parsed<PsOptions>({"ps", "--ended"}).ended);
  CHECK(parsed<HistoryOptions>({"history", "j1", "-o", "json"}).job == "j1");
  CHECK(parsed<EvictOptions>({"evict"}).job.empty());
  CHECK(parsed<EvictOptions>({"evict", "j1"}).job == "j1");
  CHECK(parsed<MigrateOptions>({"migrate", "j1", "h2"}).host == "h2");
  CHECK(parsed<MigrateOptions>({"migrate", "j1"}).host.empty());
  CHECK(parsed<KillOptions>({"kill", "j1", "j2"}).jobs == Words{"j1", "j2"});
  CHECK(parsed<KillOptions>({"kill", "j1"}).signal == 0);
  CHECK(parsed<KillOptions>({"kill", "-s", "term", "j1"}).signal == SIGTERM);
  CHECK(parsed<KillOptions>({"kill", "--signal=SIGUSR1", "j1"}).signal == SIGUSR1);
  CHECK(parsed<KillOptions>({"kill", "-s9", "j1"}).signal == SIGKILL);
  CHECK(parsed<PauseOptions>({"pause"}).on);
  CHECK(parsed<PauseOptions>({"pause", "2h"}).length == hours(2));
  CHECK_FALSE(parsed<PauseOptions>({"resume"}).on);
  CHECK(parsed<CellJoin>({"cell", "join", "hob1:x", "--name", "h1"}).host == "h1");
  CHECK(parsed<CellInit>({"cell", "init", "--port", "7000"}).port == 7000);
  CHECK(parsed<CellInvite>({"cell", "invite", "--name=h3"}).host == "h3");
  CHECK(parsed<CellRemove>({"cell", "remove", "h3"}).host == "h3");
}

TEST_CASE("help is on stdout and names every verb and option") {
  for (const Words& words : {Words{"help"}, Words{"--help"}, Words{"-h"}}) {
    const Say help = said(words);
    CHECK(help.status == 0);
    for (const VerbDescription& verb : describe_grammar())
      CHECK(help.text.find("  " + verb.name + " ") != std::string::npos);
  }
  for (const VerbDescription& verb : describe_grammar()) {
    Words words{"help"};
    for (size_t at = 0, space; at <= verb.name.size(); at = space + 1) {
      space = std::min(verb.name.find(' ', at), verb.name.size());
      words.push_back(verb.name.substr(at, space - at));
    }
    const Say help = said(words);
    CHECK(help.status == 0);
    CHECK(help.text.find("remote " + verb.name) != std::string::npos);
    for (const OptionDescription& option : verb.options)
      for (const std::string& name : option.names) CHECK(help.text.find(name) != std::string::npos);
    words.erase(words.begin());
    words.push_back("--help");
    CHECK(said(words).text == help.text);
  }
}

TEST_CASE("check and inspect") {
  CHECK(parsed<CheckOptions>({"check", "17"}).what == "17");
  CHECK_FALSE(parsed<CheckOptions>({"check", "17"}).table);
  CHECK(parsed<CheckOptions>({"check", "h0.17", "-v"}).table);
  CHECK(parsed<CheckOptions>({"check", "--verbose", "--json", "h0.17"}).json);
  CHECK(parsed<InspectOptions>({"inspect", "-v", "a file"}).file == "a file");
  CHECK(parsed<InspectOptions>({"inspect", "-v", "a file"}).all);
  CHECK_FALSE(parsed<InspectOptions>({"inspect", "x"}).all);
  for (const Words& words : {Words{"check"}, Words{"inspect"}, Words{"check", "1", "2"},
                             Words{"inspect", "a", "b"}, Words{"check", "--table", "1"}})
    CHECK(said(words).status == kUsage);
}

TEST_CASE("the version is said with the protocol's") {
  CHECK(said({"--version"}).text == "remote (hob) " HOB_VERSION ", protocol 1\n");
  CHECK(said({"--version"}).status == 0);
}

TEST_CASE("bash completes verbs, options, values and the user's command") {
  const std::string script = completion("bash", describe_grammar());
  test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/remote.bash";
  REQUIRE(replace_file(path, script).ok());
  const auto completed = [&](const std::string& line) {
    // Stands in for the shell's own: sets what it would set and prints what it would offer.
    const std::string program =
        "remote() { case \"$*\" in 'hosts -o name') echo h1 h2;; 'ps -o name') echo j1;; esac; }\n"
        "source " +
        path + "; COMP_WORDS=(" + line +
        "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _remote; "
        "echo \"${COMPREPLY[*]}\"";
    test::Process bash("/bin/bash", {"-c", program}, {});
    CHECK(bash.finish() == 0);
    CHECK(bash.error().empty());
    return bash.output();
  };
  CHECK(completed("remote ho") == "hosts\n");
  CHECK(completed("remote cell ''") == "init invite invitations join remove\n");
  CHECK(completed("remote run --no-w") == "--no-wait\n");
  CHECK(completed("remote run -H ''") == "h1 h2\n");
  CHECK(completed("remote hosts -o w") == "wide\n");
  CHECK(completed("remote kill ''") == "j1\n");
  CHECK(completed("remote cell join --na") == "--name\n");
  CHECK(completed("remote run -q --host h1 bas").find("bash") != std::string::npos);
}

TEST_CASE("zsh's and fish's scripts name every verb and option") {
  for (const char* shell : {"zsh", "fish"}) {
    const std::string script = completion(shell, describe_grammar());
    for (const VerbDescription& verb : describe_grammar())
      for (const OptionDescription& option : verb.options)
        for (const std::string& name : option.names) {
          if (!name.starts_with('-')) continue;
          const std::string word = std::string(shell) == "zsh" ? name
                                   : name.starts_with("--")    ? "-l " + name.substr(2)
                                                               : "-s " + name.substr(1);
          CHECK(script.find(word) != std::string::npos);
        }
  }
}
