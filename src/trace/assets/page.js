'use strict';
// The form of the data is in page.rs. Text goes into the page as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const words = data.words;
  const PHASES = ['turn', 'wait', 'mark', 'run'];
  // More cells or rows than a reader looks at.
  const CELLS_MAX = 400, ROWS_MAX = 100, CALLS_MAX = 16;
  const PLAY_MS = 600;
  const main = document.querySelector('main');
  const state = { loop: 0, at: 0, phase: 'turn', timer: null };

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === 'onclick' || name === 'oninput') node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  };
  const time = ns => ns >= 1e9 ? (ns / 1e9).toFixed(3) + ' s' : ns >= 1e6 ? (ns / 1e6).toFixed(2) + ' ms'
    : ns >= 1e3 ? (ns / 1e3).toFixed(1) + ' us' : ns + ' ns';
  const many = (count, word) => count + ' ' + word + (count === 1 ? '' : 's');

  // The first and the last turn in which each source is open.
  for (const loop of data.loops) {
    loop.lives = loop.sources.map(() => [0, Infinity]);
    loop.turns.forEach((turn, at) => turn[12].forEach(([kind, source]) => {
      if (kind === 2) loop.lives[source][0] = at;
      if (kind === 3) loop.lives[source][1] = at;
    }));
  }

  // Of each call the page has its name, its time and its result.
  const unpackCalls = flat => {
    const calls = [];
    for (let at = 0; at < flat.length; at += 3) calls.push({ name: words[flat[at]], ns: flat[at + 1], result: flat[at + 2] });
    return calls;
  };
  const callsText = calls => calls.slice(0, CALLS_MAX).map(call => call.name + ' = ' + call.result + ' in ' + time(call.ns)).join(', ')
    + (calls.length > CALLS_MAX ? ', and ' + (calls.length - CALLS_MAX) + ' more' : '');

  const unpack = (loop, at) => {
    const [number, begun, waited, marked, ran, timeout, outcome, before, ready, after, open, idle, records] = loop.turns[at];
    const of = kind => records.filter(record => record[0] === kind).map(record => record.slice(1));
    return { number, begun, waited, marked, ran, timeout, outcome: words[outcome], before, ready, after, open, idle,
      marks: of(0).map(([source, by, readiness, stale]) => ({ source, by: words[by], readiness: words[readiness], stale: !!stale })),
      slices: of(1).map(([source, ns, bytesIn, bytesOut, messagesIn, messagesOut, end, ...calls]) =>
        ({ source, ns, bytesIn, bytesOut, messagesIn, messagesOut, end: words[end], calls: unpackCalls(calls) })),
      opened: of(2).map(([source]) => source), closed: of(3).map(([source]) => source),
      signals: of(4).map(([signal]) => signal) };
  };

  // What happened in the phase that is shown, by the names that the lines of code have.
  const happened = (turn, phase) => {
    const names = new Set();
    const add = (when, ...more) => { if (when) more.forEach(name => names.add(name)); };
    add(phase === 'turn', 'turn');
    if (phase === 'turn' || phase === 'wait') {
      add(true, 'wait', turn.outcome);
      add(turn.outcome !== 'skipped', 'poll');
      // A timer that is due gives a timeout of 0 as well, by another line.
      add(turn.before > 0, 'no sleep');
      add(turn.timeout !== 0, 'sleep');
    }
    if (phase === 'turn' || phase === 'mark') {
      const events = turn.marks.filter(mark => mark.by === 'event');
      add(true, 'mark');
      add(events.length || turn.signals.length, 'event');
      add(turn.signals.length, 'signal');
      add(events.some(mark => mark.stale), 'stale');
      add(events.some(mark => !mark.stale), 'fresh');
      add(turn.marks.some(mark => mark.by === 'timer'), 'timer');
    }
    if (phase === 'turn' || phase === 'run') {
      const ends = turn.slices.map(slice => slice.end);
      add(true, 'run');
      add(ends.length, 'slice');
      add(ends.includes('closed'), 'closed');
      add(ends.some(end => end !== 'closed'), 'stays');
      add(ends.includes('bound used up'), 'used up');
    }
    return names;
  };

  const button = (text, title, onclick) => make('button', { type: 'button', title, onclick }, text);
  const play = button('Play', 'Space', () => setPlaying(!state.timer));
  const slider = make('input', { type: 'range', min: 0, 'aria-label': 'Turn', oninput: () => go(Number(slider.value)) });
  const place = make('span', { class: 'place', 'aria-live': 'polite' });
  const phases = PHASES.map(phase => button(phase, 'Up and Down', () => { state.phase = phase; show(); }));
  const loops = make('select', { 'aria-label': 'Loop' }, ...data.loops.map((loop, index) => make('option', { value: index }, 'loop ' + (index + 1))));
  loops.onchange = () => { state.loop = Number(loops.value); state.at = 0; show(); };
  const panels = { wait: make('section'), mark: make('section'), list: make('section'), run: make('section'), map: make('section') };
  const lines = data.code.map(([number, text, tag]) => {
    const line = make('div', {}, make('span', { class: 'n' }, String(number)), text);
    return { line, tag };
  });
  main.append(
    make('h1', {}, data.title),
    make('div', { class: 'bar' }, button('First', 'Home', () => go(0)), button('Previous', 'Left', () => go(state.at - 1)),
      button('Next', 'Right', () => go(state.at + 1)), play, ...(data.loops.length > 1 ? [loops] : []), slider, place, ...phases),
    make('div', { class: 'columns' }, make('div', {}, ...Object.values(panels)),
      make('section', {}, make('h2', {}, 'The code of the loop (src/reactor/turn.rs)'),
        make('p', { class: 'soft' }, 'Highlighted lines ran in what is shown. A trace cannot tell it of every line.'),
        make('div', { class: 'code' }, ...lines.map(({ line }) => line)))));

  const turns = () => data.loops[state.loop] ? data.loops[state.loop].turns : [];
  const name = source => {
    const [slot, , kind] = data.loops[state.loop].sources[source];
    return words[kind] + ' ' + slot;
  };
  const generation = source => data.loops[state.loop].sources[source][1];
  // `below` has a line of text for each row, which follows it over the whole width.
  const table = (heads, rows, below = []) => {
    if (!rows.length) return [make('p', { class: 'soft' }, 'nothing')];
    const cell = (tag, value) => make(tag, typeof value === 'number' ? { class: 'number' } : {}, String(value));
    const shown = rows.slice(0, ROWS_MAX).flatMap((row, at) => [make('tr', {}, ...row.map(value => cell('td', value))),
      ...(below[at] ? [make('tr', { class: 'below' }, make('td', { colspan: heads.length }, below[at]))] : [])]);
    const head = heads.map((text, at) => make('th', typeof rows[0][at] === 'number' ? { class: 'number' } : {}, text));
    const more = rows.length > ROWS_MAX ? [make('p', { class: 'soft' }, 'and ' + (rows.length - ROWS_MAX) + ' more')] : [];
    return [make('table', {}, make('thead', {}, make('tr', {}, ...head)), make('tbody', {}, ...shown)), ...more];
  };
  const chips = sources => sources.length ? make('div', { class: 'chips' },
    ...sources.slice(0, ROWS_MAX).map(source => make('span', { class: 'chip' }, name(source))),
    ...(sources.length > ROWS_MAX ? ['and ' + (sources.length - ROWS_MAX) + ' more'] : [])) : make('p', { class: 'soft' }, 'empty');
  const fill = (panel, title, ...children) => panels[panel].replaceChildren(make('h2', {}, title), ...children);

  const showWait = turn => {
    const events = turn.marks.filter(mark => mark.by === 'event').length;
    const could = turn.timeout === null ? 'could sleep until an event comes' : turn.timeout === 0 ? 'was not to sleep'
      : 'could sleep for ' + time(turn.timeout);
    const said = turn.outcome === 'skipped' ? 'The spinning loop skipped the poll.'
      : turn.outcome === 'interrupted' ? 'A signal interrupted the poll after ' + time(turn.waited) + '.'
        : 'The poll ' + could + '. It returned ' + many(events, 'event') + ' of sources after ' + time(turn.waited) + '.';
    const notes = [];
    if (turn.idle) notes.push(many(turn.idle, 'turn') + ' before this one found nothing.');
    if (turn.signals.length) notes.push('Signals: ' + turn.signals.join(', ') + '.');
    fill('wait', 'Wait', make('p', {}, said), ...notes.map(note => make('p', { class: 'soft' }, note)));
  };

  const showMap = (loop, turn) => {
    const ran = new Map(turn.slices.map(slice => [slice.source, slice.end]));
    const closed = new Set(turn.closed);
    const open = loop.lives.map((life, source) => ({ life, source })).filter(({ life }) => life[0] <= state.at && state.at <= life[1]);
    const cells = open.slice(0, CELLS_MAX).map(({ source }) => {
      const end = ran.get(source);
      const kind = closed.has(source) ? ' gone' : end === 'bound used up' ? ' again' : end ? ' ran' : '';
      return make('div', { class: 'cell' + kind, title: name(source) + ', generation ' + generation(source) + (end ? ': ' + end : '') });
    });
    const key = (kind, text) => [make('span', { class: 'key cell ' + kind }), text];
    fill('map', many(turn.open, 'open source') + ' after this turn', make('div', { class: 'map' }, ...cells),
      make('p', { class: 'soft' }, ...key('', 'waits'), ...key('ran', 'ran'), ...key('again', 'bound used up'), ...key('gone', 'closed'),
        open.length > CELLS_MAX ? '; ' + (open.length - CELLS_MAX) + ' more' : ''));
  };

  const show = () => {
    const loop = data.loops[state.loop];
    slider.max = Math.max(0, turns().length - 1);
    slider.value = state.at;
    phases.forEach((node, at) => node.setAttribute('aria-pressed', String(PHASES[at] === state.phase)));
    if (!turns().length) { place.textContent = 'no turn was recorded'; return; }
    const turn = unpack(loop, state.at);
    place.textContent = 'turn ' + turn.number + ' (' + (state.at + 1) + ' of ' + turns().length + '), at ' + time(turn.begun);
    showWait(turn);
    fill('mark', 'Marked, in ' + time(turn.marked), ...table(['by', 'source', 'generation', 'readiness'],
      turn.marks.map(mark => [mark.by, mark.stale ? 'stale: its source is gone' : name(mark.source), generation(mark.source), mark.readiness || '-'])));
    const again = turn.slices.filter(slice => slice.end === 'bound used up').map(slice => slice.source);
    const next = state.at + 1 < turns().length ? unpack(loop, state.at + 1).slices.slice(0, turn.after).map(slice => slice.source) : again;
    fill('list', 'Ready list', make('p', {}, 'When the sources run: ' + many(turn.ready, 'key') + (turn.before ? ', ' + turn.before + ' left from the turn before' : '')),
      chips(turn.slices.slice(0, turn.ready).map(slice => slice.source)), make('p', {}, 'At the end of the turn: ' + many(turn.after, 'key')), chips(next));
    fill('run', many(turn.slices.length, 'slice') + ', in ' + time(turn.ran),
      ...table(['source', 'time', 'bytes in', 'bytes out', 'messages in', 'messages out', 'ended'], turn.slices.map(slice =>
        [name(slice.source), time(slice.ns), slice.bytesIn, slice.bytesOut, slice.messagesIn, slice.messagesOut, slice.end]),
        turn.slices.map(slice => callsText(slice.calls))),
      ...(turn.opened.length ? [make('p', {}, 'Opened:'), chips(turn.opened)] : []),
      ...(turn.closed.length ? [make('p', {}, 'Closed:'), chips(turn.closed)] : []));
    showMap(loop, turn);
    for (const phase of ['wait', 'mark', 'run']) panels[phase].className = state.phase === phase ? 'now' : '';
    const names = happened(turn, state.phase);
    for (const { line, tag } of lines) line.className = tag && names.has(tag) ? 'lit' : '';
    document.body.dataset.turn = turn.number;
  };
  const go = at => {
    state.at = Math.min(Math.max(0, at), Math.max(0, turns().length - 1));
    if (state.timer && at >= turns().length) setPlaying(false);
    show();
  };
  const setPlaying = on => {
    clearInterval(state.timer);
    state.timer = on ? setInterval(() => go(state.at + 1), PLAY_MS) : null;
    play.textContent = on ? 'Pause' : 'Play';
  };
  const step = by => {
    state.phase = PHASES[(PHASES.indexOf(state.phase) + by + PHASES.length) % PHASES.length];
    show();
  };
  const keys = { ArrowLeft: () => go(state.at - 1), ArrowRight: () => go(state.at + 1), Home: () => go(0), End: () => go(turns().length - 1),
    ArrowUp: () => step(-1), ArrowDown: () => step(1), ' ': () => setPlaying(!state.timer) };
  document.addEventListener('keydown', event => {
    const action = keys[event.key];
    const isPress = event.key === ' ' && event.target.tagName === 'BUTTON';
    if (!action || event.ctrlKey || event.metaKey || event.altKey || isPress || event.target.tagName === 'SELECT') return;
    event.preventDefault();
    action();
  });
  show();
})();
