// One of some, and always one.
import { Select } from '@mantine/core';

type ChoiceProps<V extends string> = {
  label: string;
  description?: string;
  data: readonly (V | { value: V; label: string })[];
  value: V;
  onChange: (value: V) => void;
  readOnly?: boolean;
};

export function Choice<V extends string>({ data, onChange, ...rest }: ChoiceProps<V>) {
  return <Select {...rest} data={[...data]} onChange={(value) => value !== null && onChange(value as V)} allowDeselect={false} />;
}
