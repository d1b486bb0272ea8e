// Reads an event stream from bytes. `EventSource` hides heartbeats, and without them nobody notices a line that is dead.
import { isObject, readJson } from '../model/json.ts';

export interface FeedEvent {
  id: string | null;
  type: string;
  /** The JSON of its data; null where it is none. */
  data: Record<string, unknown> | null;
}

/** Text goes in as it arrives; whole events come out. Comments, which heartbeats are, are not events. */
export class EventReader {
  #rest = '';
  #id: string | null = null;
  #type = '';
  #data: string[] = [];

  push(text: string): FeedEvent[] {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? '';
    const events: FeedEvent[] = [];
    for (const line of lines) {
      const event = this.#line(line);
      if (event !== null) events.push(event);
    }
    return events;
  }

  #line(line: string): FeedEvent | null {
    if (line === '') return this.#end();
    const colon = line.indexOf(':');
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'id' && !value.includes('\0')) this.#id = value;
    if (field === 'event') this.#type = value;
    if (field === 'data') this.#data.push(value);
    return null;
  }

  #end(): FeedEvent | null {
    const [type, data] = [this.#type, this.#data];
    this.#type = '';
    this.#data = [];
    if (data.length === 0) return null;
    return { id: this.#id, type: type === '' ? 'message' : type, data: parsed(data.join('\n')) };
  }
}

function parsed(text: string): Record<string, unknown> | null {
  const read = readJson(text, 'JSON');
  return read.ok && isObject(read.value) ? read.value : null;
}
