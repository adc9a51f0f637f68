/** Terminal text as it is meant to look: colours as classes, lines that overwrite themselves in their last form. */

import Anser from 'anser';

import { element } from './dom';
import { visible } from './text';

/** A piece of text with the classes that colour it. */
export interface Piece {
  text: string;
  classes: string;
}

/** Splits text where its colour changes; everything else that would move a cursor is taken out or made visible. */
export function pieces(text: string): Piece[] {
  const settled = overwritten(text);
  if (!settled.includes('\u001b')) {
    return settled === '' ? [] : [{ text: visible(settled), classes: '' }];
  }
  return Anser.ansiToJson(settled, { use_classes: true, remove_empty: true }).map(part => ({
    text: visible(part.content),
    classes: [part.fg, part.bg && `${part.bg}-back`, ...part.decorations.map(String)]
      .filter(Boolean)
      .map(name => `kfpm-${name}`)
      .join(' ')
  }));
}

/** The same as elements. */
export function coloured(text: string): Node[] {
  return pieces(text).map(piece => element('span', piece.classes === '' ? {} : { class: piece.classes }, piece.text));
}

/** Lines that a carriage return begins anew (progress bars) keep what was written last. */
function overwritten(text: string): string {
  return text.includes('\r') ? text.replace(/\r+\n/g, '\n').replace(/[^\n]*\r(?=[^\n])/g, '').replace(/\r/g, '') : text;
}
