/** The part of a log that has been read, as lines; it grows at both ends. */

const MOST = 100_000; // lines that are kept while a log is followed

export class LogText {
  readonly lines: string[] = [];
  /** First byte that is here, and the first one behind. */
  start = 0;
  end = 0;

  /** Begins anew at a byte. */
  reset(at: number): void {
    this.lines.length = 0;
    this.start = at;
    this.end = at;
  }

  /**
   * Adds text behind.
   *
   * @returns How many lines were dropped in front.
   */
  append(text: string, end: number): number {
    const [first = '', ...rest] = text.split('\n');
    this.lines.push((this.lines.pop() ?? '') + first);
    for (const line of rest) {
      this.lines.push(line);
    }
    this.end = end;
    return this.lines.length > MOST ? this.drop(this.lines.length - MOST / 2) : 0;
  }

  /**
   * Adds text in front.
   *
   * @returns How many lines there are more.
   */
  prepend(text: string, start: number): number {
    const before = text.split('\n');
    const seam = (before.pop() ?? '') + (this.lines.shift() ?? '');
    this.lines.unshift(seam);
    // In pieces: a call has room for some ten thousand arguments.
    for (let at = before.length; at > 0; at -= 10_000) {
      this.lines.unshift(...before.slice(Math.max(0, at - 10_000), at));
    }
    this.start = start;
    return before.length;
  }

  /** How many lines can be shown: the empty one behind the last line break is none. */
  get count(): number {
    return this.lines.length > 0 && this.lines[this.lines.length - 1] === '' ? this.lines.length - 1 : this.lines.length;
  }

  private drop(count: number): number {
    const dropped = this.lines.splice(0, count);
    this.start += new TextEncoder().encode(dropped.join('\n')).length + 1;
    return count;
  }
}

const COLOUR = /\u001b\[[0-9;]*m/g;

/** The colour that a line begins with: the last one set above it. */
export function colourBefore(lines: readonly string[], at: number): string {
  for (let above = at - 1; above >= Math.max(0, at - 200); above -= 1) {
    const last = lines[above]?.match(COLOUR)?.pop();
    if (last !== undefined) {
      return last === '\u001b[0m' || last === '\u001b[m' ? '' : last;
    }
  }
  return '';
}
