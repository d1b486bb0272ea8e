// The environment that a screen is of, from its address.
import { useParams } from '@tanstack/react-router';
import { useMemo } from 'react';
import type { Place } from '../api';

export function usePlace(): Place {
  const { project, environment } = useParams({ strict: false });
  // The same one each time: much is drawn anew only for another place.
  return useMemo(() => ({ project: project ?? '', environment: environment ?? '' }), [project, environment]);
}

/** Named so by most: what happens there is of real users. */
export const isProduction = (environment: string) => /^(prod|production|live)\b/.test(environment);
