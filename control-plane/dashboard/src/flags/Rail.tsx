// The way of a question through a flag, drawn as a rail: the stops in the order in which they decide, unused ones grey.
import { Collapse, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { api, AT, data, type Place, read } from '../api';
import { stopsOf, type Stop, type StopId } from '../model/stops.ts';
import type { Flag } from '../model/types.ts';
import type { EditFlag } from './RulesEditor';
import { RulesEditor } from './RulesEditor';
import { CohortView, DefaultEditor, HoldoutEditor, LayerEditor, OffEditor, PrerequisitesEditor, ScheduleEditor, StaleEditor, TargetsEditor } from './StopEditors';

export interface Lit {
  /** Where the playground's question ended, and the rule that decided, if one did. */
  stop: StopId;
  rule: string | undefined;
}

interface RailProps { place: Place; flag: Flag; edit: EditFlag; isDisabled: boolean; open: ReadonlySet<StopId>; onToggle: (stop: StopId) => void; lit: Lit | null }

export function Rail({ place, flag, edit, isDisabled, open, onToggle, lit }: RailProps) {
  const names = useNames(place);
  const stops = stopsOf(flag);
  const reached = lit === null ? -1 : stops.findIndex((stop) => stop.id === lit.stop);
  const shared = { flag: useBesideRules(flag), edit, isDisabled };
  const editors: Record<StopId, ReactNode> = {
    off: <OffEditor {...shared} />,
    schedule: <ScheduleEditor {...shared} />,
    on_stale: <StaleEditor {...shared} />,
    prerequisites: <PrerequisitesEditor {...shared} />,
    targets: <TargetsEditor {...shared} />,
    holdout: <HoldoutEditor {...shared} />,
    layer: <LayerEditor {...shared} layers={names.layers} />,
    rules: <RulesEditor flag={flag} edit={edit} isDisabled={isDisabled} segments={names.segments} litRule={lit?.rule} />,
    cohort: <CohortView flag={flag} />,
    default: <DefaultEditor {...shared} />,
  };
  return (
    <ol className="rail" aria-label="Stops in the order in which they decide">
      {stops.map((stop, at) => (
        <StopRow key={stop.id} stop={stop} isOpen={open.has(stop.id)} onToggle={onToggle} lit={lit === null || at > reached ? undefined : at === reached ? 'decided' : 'passed'}>{editors[stop.id]}</StopRow>
      ))}
    </ol>
  );
}

function StopRow({ stop, isOpen, onToggle, lit, children }: { stop: Stop; isOpen: boolean; onToggle: (stop: StopId) => void; lit: 'passed' | 'decided' | undefined; children: ReactNode }) {
  return (
    <li className="stop" id={`stop-${stop.id}`} data-used={stop.used} data-lit={lit}>
      <button type="button" className="stop-head" aria-expanded={isOpen} onClick={() => onToggle(stop.id)}>
        <span className="stop-title">{stop.title}</span>
        <span className="stop-words"><bdi>{stop.words}</bdi>{lit === 'decided' ? <Text span size="sm" fw={600}> ← the question ends here</Text> : null}</span>
      </button>
      <Collapse expanded={isOpen}>{isOpen ? <div className="stop-body">{children}</div> : null}</Collapse>
    </li>
  );
}

/** The same flag for as long as nothing but its rules changes: the other stops are not drawn with each keystroke in a rule. */
function useBesideRules(flag: Flag): Flag {
  const [held, setHeld] = useState(flag);
  const names = [...new Set([...Object.keys(held), ...Object.keys(flag)])] as (keyof Flag)[];
  if (names.every((name) => name === 'rules' || held[name] === flag[name])) return held;
  setHeld(flag);
  return flag;
}

/** The same list each time: rules are drawn anew only for another one. */
const NONE: string[] = [];

/** Segments and layers of the environment, to choose from. */
function useNames(place: Place): { segments: string[]; layers: string[] } {
  const segments = useQuery({ ...read('segments', place, async (path, signal) => (await data(api.GET(`${AT}/segments`, { params: { path }, signal }))).segments.map((one) => one.segment.key)), staleTime: 60_000 });
  const layers = useQuery({ ...read('layers', place, async (path, signal) => (await data(api.GET(`${AT}/layers`, { params: { path }, signal }))).layers.map((one) => one.layer.key)), staleTime: 60_000 });
  return { segments: segments.data ?? NONE, layers: layers.data ?? NONE };
}
