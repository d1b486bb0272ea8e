// A wide table: it scrolls by itself, by keyboard too, so that the page never does.
import { Box, Table } from '@mantine/core';
import type { ReactNode } from 'react';

/** A heading; `ends` for numbers, which end in one line. */
export interface Column { title: string; width?: string; ends?: boolean }

interface DataTableProps { label: string; columns: readonly (string | Column)[]; width: number; children: ReactNode }

/** Its rows are the caller's. */
export function DataTable({ label, columns, width, children }: DataTableProps) {
  return (
    <Box className="surface scroll-x" tabIndex={0} role="region" aria-label={label}>
      <Table verticalSpacing={6} miw={width}>
        <Table.Thead>
          <Table.Tr>
            {columns.map((column) => (typeof column === 'string' ? { title: column } : column)).map(({ title, width: share, ends }) => <Table.Th key={title} w={share} ta={ends === true ? 'right' : undefined}>{title}</Table.Th>)}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>{children}</Table.Tbody>
      </Table>
    </Box>
  );
}
