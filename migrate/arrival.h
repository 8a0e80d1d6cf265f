#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "migrate/control.h"
#include "migrate/link.h"
#include "migrate/migrate.h"
#include "migrate/page_keeper.h"
#include "migrate/page_sink.h"
#include "migrate/relink.h"

namespace hob::migrate {

struct Listener::State {
  ListenSocket socket;
  LinkKey key;
};

/// What goes on behind a guest that has arrived. Its threads say words on `control`, under a lock.
struct Arrival::State {
  explicit State(Sandbox& s) : sandbox(s) {}
  ~State();
  void say(control::Word word, std::string_view text = {});
  void kill_guest();
  /// The sink, fed by the keeper if there is one, else by the source's connections.
  Result<void> make_sink(std::unique_ptr<PageKeeper> from, std::optional<Link>& link,
                         PageSink::Prepared prepared, bool tell_complete, Duration relink,
                         Duration silence, bool light);
  /// From here on a source whose link has broken may come back.
  void readmit(Listener listener);

  Sandbox& sandbox;
  std::optional<Connection> control;  ///< none where a checkpoint is restarted
  std::mutex saying;
  std::unique_ptr<PageKeeper> keeper;
  std::unique_ptr<PageSink> sink;
  bool hurried = false, completed = false;  ///< said, under the lock
  std::optional<Readmission> readmission;   ///< uses all of the above
  bool finished = false;
  Report report;
  Time resumed_at;
};

}  // namespace hob::migrate
