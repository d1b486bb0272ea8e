// Which environment is on screen, and the way to another one.
import { Button, Menu, Text } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { ChevronsUpDown } from 'lucide-react';
import { usePlaces } from '../api';
import { isProduction, usePlace } from '../routes/place';

export function EnvironmentSwitch() {
  const place = usePlace();
  const navigate = useNavigate();
  const { places } = usePlaces();
  return (
    <Menu position="bottom-start" width={260}>
      <Menu.Target>
        <Button
          variant="default"
          size="xs"
          rightSection={<ChevronsUpDown size={13} />}
          maw={260}
          miw={0}
          aria-label={`Environment ${place.project}/${place.environment}: choose another one`}
          {...(isProduction(place.environment) ? { style: { borderColor: 'var(--ff-production)' } } : {})}
        >
          <span className="truncate">
            <span className="wide">{place.project} / </span>
            <b>{place.environment}</b>
          </span>
        </Button>
      </Menu.Target>
      <Menu.Dropdown mah="70vh" style={{ overflowY: 'auto' }}>
        {[...new Set(places.map((one) => one.project))].map((project) => (
          <div key={project} role="group" aria-label={project}>
            <Menu.Label>{project}</Menu.Label>
            {places.filter((one) => one.project === project).map((one) => (
              <Menu.Item key={one.environment} onClick={() => void navigate({ to: '/$project/$environment', params: { ...one } })} rightSection={isProduction(one.environment) ? <span className="dot" data-tone="bad" /> : undefined}>
                <Text size="sm" fw={project === place.project && one.environment === place.environment ? 700 : 400}>{one.environment}</Text>
              </Menu.Item>
            ))}
          </div>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}
