/** What is in an artifact, as far as it can be shown; nothing in it runs in this page. */

import type { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import Papa from 'papaparse';

import { ApiError, type ArtifactKey, type Client } from '../api/client';
import type { ArtifactInfo } from '../api/types';
import { element } from '../view/dom';
import { t, tn } from '../view/i18n';
import { bytes, visible } from '../view/text';

const TEXT = 65_536; // bytes of a text that are read
const TABLE = 262_144;
const IMAGE = 20_000_000;
const ROWS = 100;
const COLUMNS = 50;

/** Shows what is in an artifact, or says why that cannot be. */
export async function preview(client: Client, rendermime: IRenderMimeRegistry, key: ArtifactKey): Promise<HTMLElement> {
  try {
    const info = await client.artifactInfo(key);
    return await new Preview(client, rendermime, key, info).show();
  } catch (error) {
    if (error instanceof ApiError) {
      return note([error.message, error.hint].filter(Boolean).join(' '));
    }
    throw error;
  }
}

class Preview {
  constructor(
    private readonly client: Client,
    private readonly rendermime: IRenderMimeRegistry,
    private readonly key: ArtifactKey,
    private readonly info: ArtifactInfo
  ) {}

  async show(): Promise<HTMLElement> {
    const { kind, media_type, size, files } = this.info;
    if (kind === 'none') {
      return note(t('It has no content.'));
    }
    if (kind === 'folder') {
      return this.folder(files);
    }
    return this.file('', media_type, size);
  }

  private folder(files: ArtifactInfo['files']): HTMLElement {
    const items = files.map(({ path, size, media_type }) => {
      const body = element('div');
      const open = element('button', { type: 'button', class: 'kfpm-link' }, visible(path));
      open.addEventListener('click', () => void this.toggle(body, path, media_type, size));
      return element('li', {}, open, ' ', element('span', { class: 'kfpm-quiet' }, bytes(size)), body);
    });
    return element('ul', { class: 'kfpm-files', 'aria-label': tn('%1 file', '%1 files', files.length) }, ...items);
  }

  private async toggle(body: HTMLElement, path: string, type: string, size: number): Promise<void> {
    body.replaceChildren(...(body.childElementCount > 0 ? [] : [await this.file(path, type, size)]));
  }

  private async file(path: string, type: string, size: number | null): Promise<HTMLElement> {
    if (size === 0) {
      return note(t('It is empty.'));
    }
    if (type === 'text/html') {
      return this.report(path);
    }
    if (type === 'text/markdown') {
      return this.markdown(await this.text(path, TABLE));
    }
    if (type.startsWith('image/')) {
      return this.image(path, type);
    }
    if (type === 'text/csv' || type === 'text/tab-separated-values') {
      return table(await this.text(path, TABLE), type === 'text/csv' ? '' : '\t', (size ?? 0) > TABLE);
    }
    if (type === 'application/json' || type.endsWith('+json')) {
      return plain(indented(await this.text(path, TEXT)), (size ?? 0) > TEXT);
    }
    return this.unknown(path, size);
  }

  /** A report in a frame with an origin of its own; its scripts run when the user says so, and reach nothing. */
  private report(path: string): HTMLElement {
    const frame = element('iframe', { class: 'kfpm-report', sandbox: '', title: t('Report %1', this.info.name), loading: 'lazy' });
    frame.src = this.client.artifactAddress(this.key, { path });
    const allow = element('input', { type: 'checkbox' });
    allow.addEventListener('change', () => {
      frame.setAttribute('sandbox', allow.checked ? 'allow-scripts' : '');
      frame.src = this.client.artifactAddress(this.key, { path, scripts: allow.checked });
    });
    const label = element('label', { class: 'kfpm-check' }, allow, t('Let its scripts run (in a sandbox)'));
    return element('div', {}, label, frame);
  }

  /** Markdown as the notebook shows what it does not trust, in a frame where nothing runs. */
  private async markdown(text: string): Promise<HTMLElement> {
    const renderer = this.rendermime.createRenderer('text/markdown');
    const model = this.rendermime.createModel({ data: { 'text/markdown': text }, trusted: false });
    await renderer.renderModel(model);
    const html = renderer.node.innerHTML;
    renderer.dispose();
    const frame = element('iframe', { class: 'kfpm-report', sandbox: '', title: t('Report %1', this.info.name) });
    frame.srcdoc = `<!doctype html><meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"><style>body{font:14px/1.5 system-ui,sans-serif;margin:12px;color:#1f2328;background:#fff}table{border-collapse:collapse}td,th{border:1px solid #d0d7de;padding:4px 10px}code,pre{background:#f4f5f7;border-radius:4px;padding:2px 4px}img{max-width:100%}</style>${html}`;
    return frame;
  }

  private async image(path: string, type: string): Promise<HTMLElement> {
    const blob = await this.client.artifactBytes(this.key, path, IMAGE);
    // As the source of an image, SVG runs no scripts and loads nothing.
    const address = URL.createObjectURL(new Blob([blob], { type }));
    const image = element('img', { class: 'kfpm-image', src: address, alt: visible(this.info.name) });
    const done = (): void => URL.revokeObjectURL(address);
    image.addEventListener('load', done);
    image.addEventListener('error', () => {
      done();
      image.replaceWith(note(t('The browser cannot show this image.')));
    });
    return image;
  }

  private async unknown(path: string, size: number | null): Promise<HTMLElement> {
    const blob = await this.client.artifactBytes(this.key, path, TEXT);
    const head = new Uint8Array(await blob.arrayBuffer());
    if (head.includes(0)) {
      return note(t('This is no text. Download it to open it elsewhere.'));
    }
    const text = new TextDecoder().decode(head);
    return plain(text, (size ?? head.length) > head.length || head.length === TEXT);
  }

  private async text(path: string, atMost: number): Promise<string> {
    return (await this.client.artifactBytes(this.key, path, atMost)).text();
  }
}

function note(text: string): HTMLElement {
  return element('div', { class: 'kfpm-quiet' }, text);
}

function plain(text: string, isCut: boolean): HTMLElement {
  const box = element('pre', { class: 'kfpm-text', tabindex: '0' }, visible(text));
  return isCut ? element('div', {}, box, note(t('This is only the beginning.'))) : box;
}

function indented(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text; // the beginning of a long file, or no JSON after all
  }
}

/** A table of the first rows; what is longer says so. */
function table(text: string, delimiter: string, isCut: boolean): HTMLElement {
  const whole = isCut ? text.slice(0, text.lastIndexOf('\n')) : text;
  const { data } = Papa.parse<string[]>(whole, { delimiter, preview: ROWS + 1, skipEmptyLines: true });
  const [head = [], ...rows] = data;
  const cells = (row: readonly string[], tag: 'th' | 'td'): HTMLElement[] =>
    row.slice(0, COLUMNS).map(cell => element(tag, tag === 'th' ? { scope: 'col' } : {}, visible(cell.slice(0, 200))));
  const body = rows.map(row => element('tr', {}, ...cells(row, 'td')));
  const made = element('table', {}, element('thead', {}, element('tr', {}, ...cells(head, 'th'))), element('tbody', {}, ...body));
  const box = element('div', { class: 'kfpm-scroll kfpm-data', tabindex: '0', role: 'region', 'aria-label': t('Table') }, made);
  const isMore = isCut || rows.length >= ROWS || head.length > COLUMNS;
  return isMore ? element('div', {}, box, note(t('These are the first %1 rows.', rows.length))) : box;
}
