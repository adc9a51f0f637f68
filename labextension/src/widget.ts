/** The widget's front end: it shows what the kernel sends and tells what is selected, nothing else. */

import './view/style.css';

import { RunView } from './view/index';
import type { Run } from './view/types';

interface Tail {
  task?: string;
  text?: string;
}

/** What anywidget gives of its model. */
interface Model {
  get(name: 'run'): Run;
  get(name: 'tail'): Tail;
  set(name: 'selected', value: string): void;
  save_changes(): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const view = new RunView(el, {
    onSelect: taskId => {
      model.set('selected', taskId);
      model.save_changes();
    }
  });
  const showRun = (): void => view.update(model.get('run'));
  const showTail = (): void => {
    const tail = model.get('tail');
    if (tail.task !== undefined) {
      view.setTail(tail.task, tail.text ?? '');
    }
  };
  model.on('change:run', showRun);
  model.on('change:tail', showTail);
  showRun();
  showTail();
  return () => {
    model.off('change:run', showRun);
    model.off('change:tail', showTail);
    view.dispose();
  };
}

export default { render };
