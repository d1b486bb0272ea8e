// What the flag does, in plain words; each clause leads to the stop that says so.
import { Text } from '@mantine/core';
import { memo } from 'react';
import { sentenceOf, type StopId } from '../model/stops.ts';
import type { Circuit, Flag } from '../model/types.ts';

interface SentenceProps { flag: Flag; environment: string; circuit: Circuit | undefined; onStop: (stop: StopId) => void }

export const Sentence = memo(function Sentence({ flag, environment, circuit, onStop }: SentenceProps) {
  return (
    <Text className="sentence break" component="p" m={0}>
      {sentenceOf(flag, environment, circuit).map((clause, at) => {
        const text = clause.strong === true ? <b>{clause.text}</b> : clause.text;
        return (
          <span key={`${clause.stop}${at}`}>
            {at === 0 ? '' : ' '}
            <a href={`#stop-${clause.stop}`} onClick={(event) => { event.preventDefault(); onStop(clause.stop); }}><bdi>{text}</bdi></a>
          </span>
        );
      })}
    </Text>
  );
});
