/** A form for the parameters of a pipeline, in a dialog. */

import { Dialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import type { Pipeline } from '../api/types';
import { element } from '../view/dom';
import { t } from '../view/i18n';
import { visible } from '../view/text';
import type { Values } from '../view/types';
import { Field } from './field';

/** What was filled in. */
export interface Filled {
  name: string;
  arguments: Values;
  cache: boolean;
}

class Form extends Widget implements Dialog.IBodyWidget<Filled> {
  private readonly fields: Field[];
  private readonly name = element('input', { type: 'text', class: 'jp-mod-styled', id: 'kfpm-form-name' });
  private readonly cache = element('input', { type: 'checkbox', id: 'kfpm-form-cache' });

  constructor(pipeline: Pipeline) {
    super();
    this.addClass('kfpm-form');
    this.fields = pipeline.parameters
      .filter(parameter => parameter.artifact !== true)
      .map(parameter => new Field(parameter, pipeline.arguments[parameter.name]));
    this.name.placeholder = t('Made from the pipeline and the time');
    this.cache.checked = true;
    const row = (label: string, control: HTMLInputElement): HTMLElement =>
      element('div', { class: 'kfpm-field' }, element('label', { for: control.id }, element('strong', {}, label)), control);
    const none = element('p', { class: 'kfpm-quiet' }, t('This pipeline takes no parameters.'));
    this.node.append(
      ...(this.fields.length > 0 ? this.fields.map(field => field.node) : [none]),
      element('hr'),
      row(t('Name of the run'), this.name),
      row(t('Reuse results of earlier runs'), this.cache)
    );
  }

  /** Whether everything can be sent; the first thing that cannot gets the keyboard. */
  check(): boolean {
    const wrong = this.fields.filter(field => !field.check());
    wrong[0]?.focus();
    return wrong.length === 0;
  }

  getValue(): Filled {
    const values = this.fields.flatMap(field => (field.value === undefined ? [] : [[field.parameter.name, field.value] as const]));
    return { name: this.name.value.trim(), arguments: Object.fromEntries(values), cache: this.cache.checked };
  }
}

/** A dialog that stays until everything in it is right. */
class FormDialog extends Dialog<Filled> {
  constructor(
    private readonly form: Form,
    title: string
  ) {
    super({ title, body: form, buttons: [Dialog.cancelButton(), Dialog.okButton({ label: t('Run') })], hasClose: true });
  }

  override resolve(index?: number): void {
    if (index === 0 || this.form.check()) {
      super.resolve(index);
    }
  }
}

/** Asks for the parameters of a pipeline; undefined when the user thinks better of it. */
export async function ask(pipeline: Pipeline): Promise<Filled | undefined> {
  const dialog = new FormDialog(new Form(pipeline), t('Run %1', visible(pipeline.name.slice(0, 100))));
  const answer = await dialog.launch();
  return answer.button.accept && answer.value !== null ? answer.value : undefined;
}
