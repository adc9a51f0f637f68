/** Words in the user's language; without a translator they stand as they are written. */

/** The part of JupyterLab's translation bundle that is used. */
export interface Bundle {
  __(text: string, ...values: (string | number)[]): string;
  _n(one: string, many: string, count: number, ...values: (string | number)[]): string;
}

function fill(text: string, values: (string | number)[]): string {
  return text.replace(/%(\d+)/g, (_, at: string) => String(values[Number(at) - 1] ?? ''));
}

const PLAIN: Bundle = {
  __: (text, ...values) => fill(text, values),
  _n: (one, many, count, ...values) => fill(count === 1 ? one : many, [count, ...values])
};

let bundle = PLAIN;

/** Takes words from a translator from now on. */
export function translateWith(translator: Bundle): void {
  bundle = translator;
}

/** Words in the user's language; `%1` stands for the first value. */
export function t(text: string, ...values: (string | number)[]): string {
  return bundle.__(text, ...values);
}

/** The same for something that is counted; `%1` is the count. */
export function tn(one: string, many: string, count: number): string {
  return bundle._n(one, many, count);
}
