/** One parameter in a form: a control that fits its type, and what it holds as a typed value. */

import type { Parameter } from '../api/types';
import { element } from '../view/dom';
import { t } from '../view/i18n';
import { visible } from '../view/text';
import type { Json } from '../view/types';

let made = 0;

export class Field {
  readonly node: HTMLElement;
  private readonly control: HTMLInputElement | HTMLTextAreaElement;
  private readonly problem = element('div', { class: 'kfpm-problem', role: 'alert' });

  constructor(
    readonly parameter: Parameter,
    given: Json | undefined
  ) {
    made += 1;
    const id = `kfpm-field-${made}`;
    const { name, type, required } = parameter;
    this.control = makeControl(type);
    this.control.id = id;
    this.control.setAttribute('aria-describedby', `${id}-problem`);
    this.control.required = required && !this.isFlag;
    this.problem.id = `${id}-problem`;
    this.set(given ?? parameter.default);
    this.control.addEventListener('input', () => this.check());
    const hint = element('span', { class: 'kfpm-quiet' }, required ? t('%1, required', type) : type);
    const label = element('label', { for: id }, element('strong', {}, visible(name)), ' ', hint);
    this.node = element('div', { class: 'kfpm-field' }, label, this.control, this.problem);
  }

  /** What was typed; undefined when nothing was and the default stands. */
  get value(): Json | undefined {
    return readValue(this.parameter.type, this.text);
  }

  /** Says what is wrong with what was typed, and whether nothing is. */
  check(): boolean {
    const problem = problemWith(this.parameter, this.text);
    this.problem.textContent = problem;
    this.control.setAttribute('aria-invalid', String(problem !== ''));
    return problem === '';
  }

  focus(): void {
    this.control.focus();
  }

  private get isFlag(): boolean {
    return this.parameter.type === 'bool';
  }

  private get text(): string {
    return this.control instanceof HTMLInputElement && this.isFlag ? String(this.control.checked) : this.control.value;
  }

  private set(value: Json | undefined): void {
    if (this.control instanceof HTMLInputElement && this.isFlag) {
      this.control.checked = value === true;
    } else if (value !== undefined && value !== null) {
      const short = typeof value === 'string' ? value : JSON.stringify(value);
      this.control.value = short.length > 60 && isStructured(this.parameter.type) ? JSON.stringify(value, null, 1) : short;
    }
  }
}

function makeControl(type: string): HTMLInputElement | HTMLTextAreaElement {
  switch (type) {
    case 'bool':
      return element('input', { type: 'checkbox' });
    case 'int':
      return element('input', { type: 'text', inputmode: 'numeric', class: 'jp-mod-styled' });
    case 'float':
      return element('input', { type: 'text', inputmode: 'decimal', class: 'jp-mod-styled' });
    case 'list':
    case 'dict':
      return element('textarea', { rows: '3', spellcheck: 'false', class: 'jp-mod-styled' });
    default:
      return element('textarea', { rows: '1', spellcheck: 'false', class: 'jp-mod-styled' });
  }
}

function isStructured(type: string): boolean {
  return type === 'list' || type === 'dict';
}

/** The typed value of a text; undefined for an empty text that is no text. */
export function readValue(type: string, text: string): Json | undefined {
  if (type === 'str') {
    return text;
  }
  if (text.trim() === '') {
    return undefined;
  }
  switch (type) {
    case 'int':
    case 'float':
      return Number(text);
    case 'bool':
      return text === 'true';
    default:
      return JSON.parse(text) as Json;
  }
}

/** Says what is wrong with a text for a parameter; empty when nothing is. */
export function problemWith({ type, required }: Parameter, text: string): string {
  if (text.trim() === '' && type !== 'str') {
    return required ? t('A value is needed.') : '';
  }
  switch (type) {
    case 'int':
      return /^\s*[-+]?\d+\s*$/.test(text) ? '' : t('This is no whole number.');
    case 'float':
      return Number.isFinite(Number(text)) ? '' : t('This is no number.');
    case 'list':
    case 'dict':
      return structureProblem(type, text);
    default:
      return '';
  }
}

function structureProblem(type: 'list' | 'dict', text: string): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return error instanceof SyntaxError ? t('This is no JSON: %1', error.message) : String(error);
  }
  if (type === 'list') {
    return Array.isArray(value) ? '' : t('A list is needed: [1, 2, 3]');
  }
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? '' : t('An object is needed: {"key": "value"}');
}
