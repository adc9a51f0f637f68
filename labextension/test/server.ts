/** A real HTTP server for tests of what asks one: it answers what a test tells it, and remembers what was asked. */

import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

import { ServerConnection } from '@jupyterlab/services';

import { Client } from '../src/api/client';

export interface Answer {
  status?: number;
  body?: unknown;
  tag?: string;
}

export class TestServer {
  readonly asked: { method: string; path: string; query: URLSearchParams; tag: string | undefined; body: string }[] = [];
  answer: (path: string, query: URLSearchParams) => Answer = () => ({ status: 404, body: {} });
  private server: Server | undefined;

  async start(): Promise<Client> {
    this.server = createServer((request, response) => {
      void this.handle(request).then(({ status = 200, body, tag }) => {
        const known = tag !== undefined && request.headers['if-none-match'] === tag;
        response.writeHead(known ? 304 : status, {
          'Content-Type': 'application/json',
          ...(tag === undefined ? {} : { ETag: tag })
        });
        response.end(known || body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body));
      });
    });
    await new Promise<void>(resolve => this.server?.listen(0, '127.0.0.1', resolve));
    const { port } = this.server.address() as AddressInfo;
    return new Client(ServerConnection.makeSettings({ baseUrl: `http://127.0.0.1:${port}/user/a/` }));
  }

  async stop(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise(resolve => this.server?.close(resolve));
  }

  private async handle(request: IncomingMessage): Promise<Answer> {
    const url = new URL(request.url ?? '', 'http://localhost');
    const path = decodeURIComponent(url.pathname.replace('/user/a/kfp-magics/api/', ''));
    let body = '';
    for await (const piece of request) {
      body += String(piece);
    }
    const tag = request.headers['if-none-match'];
    this.asked.push({ method: request.method ?? '', path, query: url.searchParams, tag, body });
    return this.answer(path, url.searchParams);
  }
}
