"""The bands of the ranks and the lineage of generations, as rows of the report page.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.lineage import Generation
from runner.plain_words import duration, plural
from runner.rank_band import RankState
from runner.rank_timeline import Span, Timeline, merged

#: Chosen: more rows than this are not looked at; of more ranks several share a row.
MAX_ROWS = 32
#: Chosen: the newest that fit on a screen beside the first ones.
MAX_GENERATIONS = 24
_MAX_EVENTS = 12
_TICKS = 5

_WORDS = {
    RankState.TRAINING: "training",
    RankState.VALIDATING: "validating",
    RankState.WAITING: "waiting for others",
    RankState.STARTING: "starting",
    RankState.HELD: "long in one place",
    RankState.RECOVERING: "recovering",
    RankState.SLOW: "slower than the others",
    RankState.HUNG: "hung",
    RankState.GONE: "gone",
}


@dataclass(frozen=True, slots=True)
class Block:
    """One stretch of a band: place and length in stretches, its state and what it says."""

    x: int
    width: int
    state: str
    words: str


@dataclass(frozen=True, slots=True)
class BandRow:
    """One rank, or several that share a row."""

    label: str
    words: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class BandsView:
    """All rows with their time axis; `ticks` are (percent, label)."""

    count: int
    rows: tuple[BandRow, ...] = ()
    states: tuple[tuple[str, str], ...] = ()
    ticks: tuple[tuple[float, str], ...] = ()
    events: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class LineageRow:
    """One generation: its place on the axis of steps in percent, and where it came from."""

    label: str
    origin: str
    left: float
    kept: float
    lost: float
    words: str


@dataclass(frozen=True, slots=True)
class LineageView:
    """The generations of a run, the oldest first."""

    rows: tuple[LineageRow, ...] = ()
    last_step: int = 0
    note: str = ""


def bands_view(timeline: Timeline) -> BandsView:
    """Return the bands of all ranks; of many ranks, several share one that shows the worst."""
    if not timeline.bands:
        return BandsView(count=1)
    share = -(-len(timeline.bands) // MAX_ROWS)
    rows = []
    for first in range(0, len(timeline.bands), share):
        group = timeline.bands[first : first + share]
        spans = group[0][1] if share == 1 else merged([b for _, b in group], timeline.count)
        rows.append(_band_row([rank for rank, _ in group], spans, timeline))
    seen = {block.state for row in rows for block in row.blocks}
    note = f"A stretch is {duration(timeline.width_s)} and shows the worst that was in it."
    if share > 1:
        note += f" Each row holds {share} ranks and shows the worst of them."
    return BandsView(
        count=timeline.count,
        rows=tuple(rows),
        states=tuple((_css(s), words) for s, words in _WORDS.items() if _css(s) in seen),
        ticks=_ticks(timeline.count * timeline.width_s),
        events=_events(timeline),
        note=note,
    )


def lineage_view(generations: Sequence[Generation]) -> LineageView:
    """Return the rows of the generations; of very many, the newest."""
    last_step = max((g.last_step for g in generations), default=0)
    if last_step <= 0:
        return LineageView()
    hidden = len(generations) - MAX_GENERATIONS
    rows = tuple(_lineage_row(g, last_step) for g in generations[-MAX_GENERATIONS:])
    note = f"{plural(hidden, 'older generation')} not shown." if hidden > 0 else ""
    return LineageView(rows, last_step, note)


def _band_row(ranks: Sequence[int], spans: Sequence[Span], timeline: Timeline) -> BandRow:
    label = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]}-{ranks[-1]}"
    blocks = tuple(_block(span, timeline.width_s) for span in spans)
    seconds: dict[str, float] = {}
    for span in spans:
        words = _WORDS[span.state]
        seconds[words] = seconds.get(words, 0.0) + (span.end - span.begin) * timeline.width_s
    told = ", ".join(f"{words} {duration(spent_s)}" for words, spent_s in seconds.items())
    return BandRow(label, f"{label}: {told}", blocks)


def _block(span: Span, width_s: float) -> Block:
    begin, end = duration(span.begin * width_s), duration(span.end * width_s)
    words = f"{_WORDS[span.state]}, from {begin} to {end}"
    return Block(span.begin, span.end - span.begin, _css(span.state), words)


def _css(state: RankState) -> str:
    return state.name.lower()


def _ticks(total_s: float) -> tuple[tuple[float, str], ...]:
    return tuple(
        (100 * i / (_TICKS - 1), duration(total_s * i / (_TICKS - 1)) if i else "0")
        for i in range(_TICKS)
    )


def _events(timeline: Timeline) -> tuple[str, ...]:
    lines = []
    for event in timeline.events[:_MAX_EVENTS]:
        who = "" if event.rank is None else f"rank {event.rank}: "
        after = duration(event.t_s - timeline.start_t_s)
        lines.append(f"after {after}, step {event.step:,}: {who}{event.words}")
    if (more := len(timeline.events) - _MAX_EVENTS) > 0:
        lines.append(f"and {more} more; the ledger has all of them")
    return tuple(lines)


_ORIGINS = {
    "in_place": "rolled back in place",
    "regroup": "new process group",
    "spare": "a spare took over",
    "replace": "worker replaced",
    "restart": "restarted",
    "start": "started",
}


def _lineage_row(g: Generation, last_step: int) -> LineageRow:
    kept_to = max(g.kept_step, g.restored_step)
    how = _ORIGINS.get(g.how, g.how)
    storage = f"{g.storage} checkpoint" if g.storage else "checkpoint"
    source = f"{storage} of step {g.restored_step:,}" if g.restored_step else "scratch"
    lost = f", {plural(g.lost_steps, 'step')} thrown away" if g.lost_steps else ""
    return LineageRow(
        label=f"attempt {g.attempt}, generation {g.number}",
        origin=f"{how} from {source}",
        left=100 * g.restored_step / last_step,
        kept=100 * (kept_to - g.restored_step) / last_step,
        lost=100 * g.lost_steps / last_step,
        words=f"steps {g.restored_step + 1:,} to {g.last_step:,}{lost}",
    )
