/** Marks a line of a cell until the cell is edited. */

import { StateEffect, StateField, type Extension } from '@codemirror/state';
import { Decoration, EditorView, type DecorationSet } from '@codemirror/view';
import type { Cell } from '@jupyterlab/cells';
import { CodeMirrorEditor } from '@jupyterlab/codemirror';

/** A line (from 1) to mark; none with 0. */
const setLine = StateEffect.define<number>();

const marked = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(before, transaction) {
    for (const effect of transaction.effects) {
      if (effect.is(setLine)) {
        const { doc } = transaction.state;
        const isThere = effect.value >= 1 && effect.value <= doc.lines;
        return isThere ? Decoration.set([Decoration.line({ class: 'kfpm-failed-line' }).range(doc.line(effect.value).from)]) : Decoration.none;
      }
    }
    return transaction.docChanged ? Decoration.none : before;
  },
  provide: field => EditorView.decorations.from(field)
});
const extension: Extension = marked;

/** Marks a line of a cell and puts the cursor on it. */
export function markLine(cell: Cell, line: number): void {
  const { editor } = cell;
  if (!(editor instanceof CodeMirrorEditor)) {
    return;
  }
  const view = editor.editor;
  const effects: StateEffect<unknown>[] = [setLine.of(line)];
  if (view.state.field(marked, false) === undefined) {
    effects.unshift(StateEffect.appendConfig.of(extension));
  }
  const { doc } = view.state;
  const at = line >= 1 && line <= doc.lines ? { selection: { anchor: doc.line(line).from } } : {};
  view.dispatch({ effects, ...at });
}
