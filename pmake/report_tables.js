// The figures, the tables and the lists round the timeline.

function showFigures() {
  const out = build.recipes.filter((recipe) => recipe.bars.some((bar) => !bar.host.home)).length;
  const home = build.recipes.length - out;
  const work = sum(build.recipes, (recipe) => recipe.work);
  const helpers = build.hosts.filter((host) => !host.home && host.lanes.some((lane) => lane.length));
  const moves = sum(build.recipes, (recipe) => recipe.moves);
  const lost = build.recipes.filter((recipe) => recipe.lost).length;
  const figure = (name, value, more) => element('figures').append(make('div', {},
    make('dt', {}, name), make('dd', {class: 'value'}, value), make('dd', {class: 'muted'}, more)));

  figure('Wall time', lasting(build.wall), `for ${lasting(work)} of recipes`);
  figure('Speed-up', build.wall > 0 ? `${(work / build.wall).toFixed(1)} ×` : '–',
    'less than the recipes took together');
  figure('Recipes away', out.toLocaleString('en'), `on ${plural(helpers.length, 'host')}`);
  figure('Recipes at home', home.toLocaleString('en'),
    build.cheap ? `and ${build.cheap.toLocaleString('en')} too small to send` : 'on this host');
  figure('Moved', moves.toLocaleString('en'), moves ? 'and went on elsewhere' : 'no owner came back');
  figure('Lost', lost.toLocaleString('en'), lost ? 'run again at home' : 'nothing ran twice');
}

function showHosts() {
  const column = (name, ...more) => make('th', {scope: 'col', class: more[0] || ''}, name);
  const rows = build.hosts.map((host) => {
    const bars = host.lanes.flat();
    const busy = sum(bars, length);
    const share = Math.min(1, busy / (build.end * host.lanes.length));
    const number = (value) => make('td', {class: 'number'}, String(value));
    const left = (kind) => bars.filter((bar) => bar.kind === kind);
    const away = bars.filter((bar) => bar.kind !== 'lost' && bar !== bar.recipe.bars[bar.recipe.bars.length - 1]);
    return make('tr', {}, make('th', {scope: 'row'}, host.name + (host.home ? ' (home)' : '')),
      make('td', {}, make('div', {class: 'meter'},
        make('span', {'aria-hidden': 'true'}, make('i', {
          class: host.home ? 'at-home' : '', style: `width:${100 * share}%`})),
        make('span', {}, percent(share)))),
      number(bars.length ? host.lanes.length : 0), number(bars.length), number(lasting(busy)),
      number(away.length), number(left('lost').length));
  });
  element('hosts').append(
    make('thead', {}, make('tr', {}, column('Host'), column('Busy'), column('Slots', 'number'),
      column('Recipes', 'number'), column('Time', 'number'), column('Moved away', 'number'),
      column('Lost', 'number'))),
    make('tbody', {}, ...rows));
}

function showSlowest() {
  const slowest = [...build.recipes].sort((a, b) => b.work - a.work).slice(0, 12);
  for (const recipe of slowest) {
    const track = recipe.bars.map((bar) => make('span', {
      class: bar.kind, style: `width:${100 * length(bar) / Math.max(1, slowest[0].work)}%`}));
    element('slow').append(make('li', {}, make('button', {
      type: 'button', title: recipe.command, onclick: () => timeline.show(recipe),
    }, make('span', {class: 'line'}, make('code', {}, recipe.name),
      make('span', {}, lasting(recipe.work), make('span', {class: 'muted'},
        '  ' + recipe.bars.map((bar) => bar.host.name).join(' → ')))),
    make('span', {class: 'track', 'aria-hidden': 'true'}, ...track))));
  }
  if (slowest.length === 0) element('slow').append(make('li', {class: 'muted'}, 'No recipe ran.'));
}

/** All recipes, a page at a time: a table of 20,000 rows would take seconds to lay out. */
const allRecipes = {
  kPage: 100,
  columns: [
    {name: 'Target', of: (r) => r.name, text: true},
    {name: 'Began', of: (r) => r.from},
    {name: 'Took', of: (r) => r.work},
    {name: 'Where', of: (r) => story(r), text: true},
  ],
  by: 1, down: false, page: 0, rows: [],

  start() {
    this.body = make('tbody');
    this.heads = this.columns.map((column, i) => make('th', {scope: 'col', class: column.text ? '' : 'number'},
      make('button', {type: 'button', onclick: () => this.sort(i)}, column.name)));
    element('recipes').append(make('thead', {}, make('tr', {}, ...this.heads)), this.body);
    element('page-back').addEventListener('click', () => this.turn(-1));
    element('page-on').addEventListener('click', () => this.turn(1));
    element('all').addEventListener('toggle', () => this.refresh());
    filter.listeners.push(() => this.refresh());
  },
  sort(column) {
    this.down = this.by === column ? !this.down : !this.columns[column].text && column !== 1;
    this.by = column;
    this.refresh();
  },
  turn(pages) {
    this.page += pages;
    this.draw();
  },
  refresh() {
    if (!element('all').open) return;
    const column = this.columns[this.by], sign = this.down ? -1 : 1;
    const order = new Intl.Collator('en', {numeric: true});
    const keyed = build.recipes.filter((r) => filter.recipe(r) && r.bars.some((bar) => filter.bar(bar)))
      .map((recipe) => ({recipe, key: column.of(recipe)}));
    keyed.sort((a, b) => sign * (column.text ? order.compare(a.key, b.key) : a.key - b.key));
    this.rows = keyed.map((one) => one.recipe);
    this.page = 0;
    this.heads.forEach((head, i) =>
      head.setAttribute('aria-sort', i !== this.by ? 'none' : this.down ? 'descending' : 'ascending'));
    this.draw();
  },
  draw() {
    const first = this.page * this.kPage, shown = this.rows.slice(first, first + this.kPage);
    this.body.replaceChildren(...shown.map((recipe) => make('tr', {},
      make('td', {}, make('button', {type: 'button', onclick: () => timeline.show(recipe)},
        swatch(recipe.kind), ' ', make('code', {}, recipe.name)),
      make('span', {class: 'command'}, recipe.command)),
      make('td', {class: 'number'}, instant(recipe.from, 1e4)),
      make('td', {class: 'number'}, lasting(recipe.work)), make('td', {}, story(recipe)))));
    element('page').textContent = this.rows.length === 0 ? 'No recipe' :
      `${first + 1} to ${first + shown.length} of ${plural(this.rows.length, 'recipe')}`;
    element('page-back').disabled = this.page === 0;
    element('page-on').disabled = first + this.kPage >= this.rows.length;
  },
};

function showLegend() {
  for (const [kind, words] of Object.entries(kinds)) {
    const many = build.recipes.filter((recipe) => recipe.bars.some((bar) => bar.kind === kind)).length;
    if (many === 0) continue;
    const button = make('button', {type: 'button', 'aria-pressed': 'true'}, swatch(kind),
      make('span', {}, words, ' ', make('span', {class: 'muted'}, many.toLocaleString('en'))));
    button.addEventListener('click', () => {
      const hide = !filter.hidden.has(kind);
      if (hide) filter.hidden.add(kind); else filter.hidden.delete(kind);
      button.setAttribute('aria-pressed', String(!hide));
      filter.changed();
    });
    element('legend').append(button);
  }
}

function startSearch() {
  element('find').addEventListener('input', (event) => {
    filter.text = event.target.value.trim().toLowerCase();
    const found = build.recipes.filter((recipe) => filter.recipe(recipe)).length;
    element('found').textContent = filter.text === '' ? '' : plural(found, 'recipe');
    filter.changed();
  });
}

showFigures();
showLegend();
showHosts();
showSlowest();
startSearch();
allRecipes.start();
timeline.start();
