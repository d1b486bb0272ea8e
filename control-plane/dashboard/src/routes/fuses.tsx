// All fuses of an environment: where each stands, and what its evidence says.
import { Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { reasonInWords } from '../model/fuse.ts';
import { change, counted, share } from '../model/words.ts';
import { fuses, type Schemas } from '../api';
import { Ago, CircuitChip, Empty, Loaded, Page, Row, Rows, TextLink } from '../parts';
import { usePlace } from './place';

const RANK: Record<Schemas['Circuit'], number> = { OPEN: 0, HALF_OPEN: 1, CLOSED: 2 };

export function Fuses() {
  const place = usePlace();
  return (
    <Page title="Fuses" about="Each compares who sees a feature with who does not, and switches it off where it harms.">
      <Loaded query={useQuery(fuses(place))}>
        {(data) => {
          if (data.fuses.length === 0) {
            return (
              <Empty action={<TextLink to="/$project/$environment/flags" params={{ ...place }} size="sm">To the flags</TextLink>}>
                No flag has a fuse here. Open a flag and arm one: it takes a metric and the harm that is too much.
              </Empty>
            );
          }
          const sorted = [...data.fuses].sort((one, other) => RANK[one.circuit] - RANK[other.circuit] || one.flag.localeCompare(other.flag));
          return (
            <>
              <Text size="sm" c="dimmed">
                {counted(data.total.count, 'fuse')}
                {data.total.is_more ? ' and more' : ''}, {counted(data.guardrails_with_evidence, 'guardrail')} with evidence. Looked at together, at most{' '}
                {share(data.false_share_max)} of the harm that stands is by chance.
              </Text>
              <Rows label="Fuses">{sorted.map((fuse) => <FuseRow key={fuse.flag} fuse={fuse} />)}</Rows>
            </>
          );
        }}
      </Loaded>
    </Page>
  );
}

function FuseRow({ fuse }: { fuse: Schemas['ListedFuse'] }) {
  const place = usePlace();
  const found = fuse.guardrails.map((guardrail) => (
    <Text size="sm" key={guardrail.metric} component="span">
      {guardrail.metric} {guardrail.change !== null && <span className="num">{change(guardrail.change)}</span>}{' '}
      <Text span c={guardrail.finding === 'harm' ? 'var(--ff-bad)' : 'dimmed'} size="sm">{`${reasonInWords(guardrail.finding)}${guardrail.stands ? ', stands' : ''}`}</Text>
    </Text>
  ));
  return (
    <Row end={<>{found}{fuse.at_ms !== null && <Text size="xs" c="dimmed"><Ago ms={fuse.at_ms} /></Text>}</>}>
      <CircuitChip circuit={fuse.circuit} />
      <TextLink to="/$project/$environment/flags/$flag/fuse" params={{ ...place, flag: fuse.flag }} size="sm" fw={600} className="break">{fuse.flag}</TextLink>
    </Row>
  );
}
