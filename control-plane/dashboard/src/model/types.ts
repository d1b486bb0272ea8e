// The parts of a flag that the page reads and edits. A flag is kept as the document that the server sent, so fields that stand nowhere here survive an edit.
import type { Json, JsonObject } from './json.ts';

export type Circuit = 'CLOSED' | 'OPEN' | 'HALF_OPEN';

export interface Condition { attribute?: string; op: string; values?: Json[]; negate?: boolean; ignore_case?: boolean; coerce?: boolean; lenient?: boolean }

export interface Split { variation: string; weight?: number }

export interface Rule { key: string; conditions?: Condition[]; percentage?: number | null; split: Split[]; schedule?: Schedule | null; unleash?: JsonObject | null }

export interface Schedule { from_ms?: number | null; until_ms?: number | null }

export interface CohortSlice { arm: string; from: number; to: number; variation: string; phase?: number | null; unenrolled?: boolean }

export interface Variation { key: string; value: Json }

export interface Flag {
  key: string;
  value_type: string;
  variations: Variation[];
  description?: string;
  enabled?: boolean;
  off_variation?: string | null;
  default_variation?: string | null;
  schedule?: Schedule | null;
  on_stale?: string;
  prerequisites?: { flag: string; variations: string[] }[];
  targets?: { variation: string; units: string[]; attribute?: string | null }[];
  holdout?: string;
  layer?: { key: string; from: number; to: number } | null;
  rules?: Rule[];
  cohort?: { phase: number; slices: CohortSlice[] } | null;
  salt?: string | null;
  bucket_by?: string | null;
}
