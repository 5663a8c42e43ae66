/* a stand-in */
int vmalloc_value(void)
{
	return 1;
}
