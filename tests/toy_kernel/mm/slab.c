/* a stand-in */
int slab_value(void)
{
	return 1;
}
