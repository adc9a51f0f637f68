/**
 * The log of a task: it opens at its end whatever its size, is read on as one scrolls up, follows what is written, and is
 * searched by the server.
 */

import { ApiError, type Client } from '../api/client';
import type { LogMatch, LogPiece } from '../api/types';
import { pieces } from '../view/ansi';
import { element } from '../view/dom';
import { t } from '../view/i18n';
import { bytes } from '../view/text';
import { VirtualLines } from '../virtual';
import { LogSearch } from './logsearch';
import { colourBefore, LogText } from './logtext';

const PIECE = 131_072;
const LINE = 18; // pixels
const CHARACTER = 7.3; // pixels, until it is measured
const LONG = 5000; // characters of a line that are put into the page
const WAIT = 20; // seconds that the server waits for more
const PAUSE = 3000; // milliseconds until a server that does not answer is asked again

export interface LogOf {
  runId: string;
  task: string;
}

export class LogView {
  readonly node = element('div', { class: 'kfpm-log-view' });
  private readonly text = new LogText();
  private readonly lines: VirtualLines;
  private readonly status = element('span', { class: 'kfpm-quiet' });
  private readonly attempts = element('select', { class: 'kfpm-select', 'aria-label': t('Attempt') });
  private readonly notice = element('div', { class: 'kfpm-notice', role: 'status' });
  private readonly download = element('a', { class: 'kfpm-button', download: '' }, t('Download'));
  private attempt = 0;
  private size = 0;
  private isEnded = false;
  private isReading = false;
  private found = '';
  private marked = -1;
  private columns = 80;
  private reading = new AbortController();
  private readonly drawn = new WeakMap<HTMLElement, string>();

  constructor(
    private readonly client: Client,
    private readonly of: LogOf
  ) {
    const label = { class: 'kfpm-log-lines', tabindex: '0', role: 'log', 'aria-label': t('Log'), 'aria-live': 'off' };
    this.lines = new VirtualLines({ height: at => this.rowsOf(at) * LINE, draw: (at, line) => this.draw(at, line) }, label);
    this.lines.node.addEventListener('scroll', () => void this.onScroll());
    const search = new LogSearch({
      find: (text, offset) => this.client.searchLog(this.of.runId, { task: this.of.task, attempt: this.attempt, text, offset }),
      onMatch: (text, match) => void this.showMatch(text, match)
    });
    const button = (text: string, name: string, act: () => void): HTMLElement => {
      const made = element('button', { type: 'button', class: 'kfpm-button', 'aria-label': name, title: name }, text);
      made.addEventListener('click', act);
      return made;
    };
    this.attempts.addEventListener('change', () => void this.open(Number(this.attempts.value)));
    const ends = [button('⤒', t('Beginning'), () => void this.toStart()), button('⤓', t('End'), () => void this.toEnd())];
    this.node.append(
      element('div', { class: 'kfpm-log-bar' }, search.node, ...ends, this.attempts, this.status, this.download),
      this.notice,
      this.lines.node
    );
    this.attempts.hidden = true;
    void this.open(0);
  }

  /** Draws anew when the room has changed. */
  resize(): void {
    const { clientWidth } = this.lines.node;
    const columns = Math.max(20, Math.floor((clientWidth - 28) / characterWidth(this.lines.node)));
    if (clientWidth > 0) {
      const atEnd = this.isAtEnd;
      const isChanged = columns !== this.columns;
      this.columns = columns;
      this.lines.update(this.text.count, isChanged);
      if (isChanged && atEnd) {
        this.revealEnd();
      }
    }
  }

  dispose(): void {
    this.reading.abort();
    this.lines.dispose();
  }

  private async open(attempt: number): Promise<void> {
    this.reading.abort();
    const reading = new AbortController();
    this.reading = reading;
    this.attempt = attempt;
    this.text.reset(0);
    await this.asking(async () => {
      const piece = await this.read({ offset: -PIECE, limit: PIECE });
      if (!reading.signal.aborted) {
        this.text.reset(piece.start);
        this.attempt = piece.attempt;
        this.take(piece);
        this.resize();
        this.revealEnd();
      }
    });
    await this.follow(reading);
  }

  /** Waits for what is written until nothing will be. */
  private async follow(reading: AbortController): Promise<void> {
    while (!reading.signal.aborted && !(this.isEnded && this.text.end >= this.size)) {
      const isRead = await this.asking(async () => {
        if (this.text.end < this.size && !this.isAtEnd) {
          await pause(PAUSE / 10); // somebody reads further up: what follows is not lost
        }
        const piece = await this.read({ offset: this.text.end, limit: PIECE, follow: WAIT });
        if (!reading.signal.aborted) {
          const atEnd = this.isAtEnd;
          this.take(piece);
          if (atEnd) {
            this.revealEnd();
          }
        }
      });
      if (!isRead && !reading.signal.aborted) {
        await pause(PAUSE);
      }
    }
  }

  private read(query: { offset: number; limit: number; follow?: number }): Promise<LogPiece> {
    const { runId, task } = this.of;
    return this.client.log(runId, { task, attempt: this.attempt, ...query }, this.reading.signal);
  }

  /** Does something with the server and shows what it says when it will not. */
  private async asking(work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      this.say('');
      return true;
    } catch (error) {
      if (this.reading.signal.aborted) {
        return false;
      }
      if (!(error instanceof ApiError)) {
        throw error;
      }
      this.say([error.message, error.hint].filter(Boolean).join(' '));
      if (error.status >= 400 && error.status < 500) {
        this.isEnded = true; // asking again would not help
        this.size = this.text.end;
      }
      return false;
    }
  }

  private say(text: string): void {
    if (this.notice.textContent !== text) {
      this.notice.textContent = text;
    }
  }

  private take(piece: LogPiece): void {
    const dropped = this.text.append(piece.text, piece.end);
    this.marked = this.marked < 0 ? -1 : this.marked - dropped;
    this.size = piece.size;
    this.isEnded = piece.ended;
    this.drawBar(piece);
    this.lines.update(this.text.count, true);
    if (this.text.count === 0) {
      this.say(piece.ended ? t('Nothing was printed.') : t('Nothing was printed yet.'));
    }
  }

  private drawBar(piece: LogPiece): void {
    this.status.textContent = `${bytes(piece.size)}${piece.ended ? '' : ` · ${t('live')}`}`;
    this.download.setAttribute('href', this.client.logAddress(this.of.runId, this.of.task, piece.attempt));
    this.attempts.hidden = piece.attempts < 2;
    if (this.attempts.childElementCount !== piece.attempts) {
      const options = Array.from({ length: piece.attempts }, (_, at) => element('option', { value: String(at + 1) }, t('attempt %1', at + 1)));
      this.attempts.replaceChildren(...options);
    }
    this.attempts.value = String(piece.attempt);
  }

  private get isAtEnd(): boolean {
    const { scrollTop, clientHeight, scrollHeight } = this.lines.node;
    return scrollTop + clientHeight >= scrollHeight - 2 * LINE;
  }

  private revealEnd(): void {
    this.lines.node.scrollTop = this.lines.node.scrollHeight;
    this.lines.update(this.text.count);
  }

  private async toStart(): Promise<void> {
    if (this.text.start > 0) {
      await this.jump(0);
    }
    this.lines.node.scrollTop = 0;
  }

  private async toEnd(): Promise<void> {
    if (this.text.end < this.size) {
      await this.open(this.attempt);
    }
    this.revealEnd();
  }

  /** Shows the log from a byte on; what is above is read when one scrolls there. */
  private async jump(start: number): Promise<void> {
    this.reading.abort();
    const reading = new AbortController();
    this.reading = reading;
    await this.asking(async () => {
      const piece = await this.read({ offset: start, limit: PIECE });
      this.text.reset(piece.start);
      this.take(piece);
      await this.earlier();
    });
    void this.follow(reading);
  }

  private async showMatch(text: string, match: LogMatch | undefined): Promise<void> {
    this.found = text.toLowerCase();
    this.marked = -1;
    if (match !== undefined) {
      const before = this.text.start;
      await this.jump(match.line_start);
      // What was read in front ends where the match's line begins.
      this.marked = before === match.line_start ? 0 : this.linesInFront;
      this.lines.reveal(this.marked, 'center');
    }
    this.lines.update(this.text.count, true);
  }

  private linesInFront = 0;

  private async onScroll(): Promise<void> {
    if (this.lines.node.scrollTop < 20 * LINE && this.text.start > 0 && !this.isReading) {
      await this.asking(() => this.earlier());
    }
  }

  /** Reads what is above, and keeps in sight what is. */
  private async earlier(): Promise<void> {
    this.linesInFront = 0;
    if (this.text.start === 0 || this.isReading) {
      return;
    }
    this.isReading = true;
    try {
      const start = Math.max(0, this.text.start - PIECE);
      const piece = await this.read({ offset: start, limit: this.text.start - start });
      const height = this.lines.node.scrollHeight;
      const added = this.text.prepend(piece.text, piece.start);
      this.linesInFront = added;
      this.marked = this.marked < 0 ? -1 : this.marked + added;
      this.lines.update(this.text.count, true);
      this.lines.node.scrollTop += this.lines.node.scrollHeight - height;
    } finally {
      this.isReading = false;
    }
  }

  private rowsOf(at: number): number {
    const length = Math.min(LONG, this.text.lines[at]?.length ?? 0);
    return Math.max(1, Math.ceil(length / this.columns));
  }

  private draw(at: number, line: HTMLElement): void {
    const text = this.text.lines[at] ?? '';
    const key = `${at === this.marked ? '>' : ''}${this.found}\n${text.length}\n${text.slice(0, LONG)}`;
    if (this.drawn.get(line) === key) {
      return;
    }
    this.drawn.set(line, key);
    line.className = at === this.marked ? 'kfpm-log-line kfpm-marked' : 'kfpm-log-line';
    const shown = colourBefore(this.text.lines, at) + text.slice(0, LONG);
    const parts = pieces(shown).flatMap(piece => highlighted(piece.text, piece.classes, this.found));
    const rest = text.length > LONG ? [element('i', { class: 'kfpm-quiet' }, ` … ${t('%1 characters more', text.length - LONG)}`)] : [];
    line.replaceChildren(...parts, ...rest);
  }
}

/** Marks what was searched for. */
function highlighted(text: string, classes: string, found: string): Node[] {
  const lower = text.toLowerCase();
  const made: Node[] = [];
  let from = 0;
  const put = (to: number): void => {
    if (to > from) {
      made.push(element('span', classes === '' ? {} : { class: classes }, text.slice(from, to)));
    }
  };
  for (let at = found === '' ? -1 : lower.indexOf(found); at >= 0; at = lower.indexOf(found, at + found.length)) {
    put(at);
    made.push(element('mark', {}, text.slice(at, at + found.length)));
    from = at + found.length;
  }
  put(text.length);
  return made;
}

function characterWidth(host: HTMLElement): number {
  const probe = element('span', { class: 'kfpm-probe', 'aria-hidden': 'true' }, '0'.repeat(50));
  host.append(probe);
  const width = probe.getBoundingClientRect().width / 50;
  probe.remove();
  return width || CHARACTER;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, milliseconds));
}
